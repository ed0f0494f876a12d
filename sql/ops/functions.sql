-- What an operator can ask in psql, without rights on our tables: it runs with those of the role that released. The caller
-- is recorded as session_user, which cannot be forged.

-- Why is this job not moving?
CREATE OR REPLACE FUNCTION ops.why(job_id bigint)
RETURNS TABLE (reason text, since timestamptz, evidence jsonb, sentence text, remedy text)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT * FROM public.why_job(job_id, true)
$$;
COMMENT ON FUNCTION ops.why(bigint) IS 'Why is this job not moving? The reason, since when, the evidence, a sentence, and what to do';

-- The views below call these: a function within a view runs with the caller's rights.

CREATE OR REPLACE FUNCTION ops.why_not_moving()
RETURNS TABLE (job_id bigint, reason text, since timestamptz, evidence jsonb, sentence text, remedy text)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT * FROM public.why_jobs(ARRAY(
        SELECT id FROM public.jobs_to_explain() AS id ORDER BY id LIMIT 1000), true, 0) w
    WHERE w.reason NOT IN ('running', 'waiting_turn', 'snoozed', 'stopping', 'listing')
$$;
COMMENT ON FUNCTION ops.why_not_moving() IS 'ops.why for the stuck ones of the first 1 000 jobs that may be; see the view ops.stuck_jobs';

CREATE OR REPLACE FUNCTION ops.worker_sessions()
RETURNS TABLE (worker_id integer, session_pid integer, silent_for interval)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.worker_id, s.session_pid, s.silent_for FROM public.worker_silences() s
$$;
COMMENT ON FUNCTION ops.worker_sessions() IS 'The sessions that hold a worker''s lock, and how long each has been silent';

CREATE OR REPLACE FUNCTION ops.queue_states() RETURNS TABLE (
    queue text, waiting bigint, delayed bigint, taken bigint, oldest_waiting interval, workers bigint,
    jobs_waiting bigint, jobs_snoozed bigint, jobs_running bigint
) LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT * FROM public.queue_states()
$$;
COMMENT ON FUNCTION ops.queue_states() IS 'The state of each queue; see the view ops.queues';

CREATE OR REPLACE FUNCTION ops.lock_waits() RETURNS TABLE (
    pid integer, application text, waits interval, query text,
    blocker_pid integer, blocker text, blocker_state text, blocker_transaction interval, blocker_query text
) LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT waiting.pid, waiting.application_name, clock_timestamp() - waiting.query_start, left(waiting.query, 200),
           b.pid, blocker.application_name, blocker.state, clock_timestamp() - blocker.xact_start, left(blocker.query, 200)
    FROM pg_stat_activity waiting CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS b (pid)
    LEFT JOIN pg_stat_activity blocker ON blocker.pid = b.pid
    WHERE waiting.datname = current_database() AND waiting.wait_event_type = 'Lock'
    ORDER BY waiting.query_start
$$;
COMMENT ON FUNCTION ops.lock_waits() IS 'Which sessions wait for a lock, how long, and who blocks them?';
