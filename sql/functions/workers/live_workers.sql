-- Which sessions hold the lock of a worker's id, and how long has each been silent? Null: we may not see it. A shared lock
-- on it is a poll's that asks whether the worker lives (view_jobs.sql).
-- Postgres reads pg_stat_activity once per transaction; we need it as it is now, not as it was when a sweep began:
-- otherwise a newer worker would look dead, and so would all workers after a sweep of 15 s.
CREATE OR REPLACE FUNCTION public.worker_sessions()
RETURNS TABLE (worker_id integer, session_pid integer, role_id oid, silent_for interval)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_stat_clear_snapshot();
    RETURN QUERY SELECT lock.objid::bigint::integer, lock.pid, session.usesysid, public.silence(session.state_change)
    FROM pg_locks lock JOIN pg_stat_activity session USING (pid)
    WHERE lock.locktype = 'advisory' AND lock.mode = 'ExclusiveLock' AND lock.granted AND lock.objsubid = 2
      AND lock.classid = public.worker_lock_space()
      AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND has_table_privilege(session.usesysid, 'public.workers', 'UPDATE');  -- otherwise it is not our worker
END $$;

-- The same for people, by the clock as it is: silence() counts nothing while nobody watches the clock, so the only worker
-- of all could stand still unseen. After a step of the clock, a session looks silent until it speaks: for a second. No
-- worker loses anything because of that.
CREATE OR REPLACE FUNCTION public.worker_silences()
RETURNS TABLE (worker_id integer, session_pid integer, role_id oid, silent_for interval)
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.worker_id, s.session_pid, s.role_id,
           CASE WHEN session.state_change IS NOT NULL THEN greatest(clock_timestamp() - session.state_change, '0') END
    FROM public.worker_sessions() s LEFT JOIN LATERAL pg_stat_get_activity(s.session_pid) session ON true
$$;

-- Which workers are alive? Those whose process holds the lock of its id and has been active within 15 s (it runs a
-- statement each second). A killed process loses the lock at once; one that hangs, is stopped or lost its network keeps
-- the lock but falls silent.
-- A session that we may not see counts as active.
CREATE OR REPLACE FUNCTION public.live_workers() RETURNS SETOF integer LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT s.worker_id FROM public.worker_sessions() s WHERE coalesce(s.silent_for < '15 s', true);
END $$;
