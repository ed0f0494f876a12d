-- Ends the sessions by which these workers, which are dead to us, still hold their locks: a process that only stood
-- still learns so, when it wakes up, that it has lost its identity. A session that we may not end, for it belongs to
-- another role, is named and left alone: what its worker holds is fenced all the same.
CREATE OR REPLACE FUNCTION public.end_sessions(dead integer[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    session record;
BEGIN
    FOR session IN
        SELECT lock.pid, lock.objid::bigint AS worker FROM pg_locks lock
        WHERE lock.locktype = 'advisory' AND lock.objsubid = 2 AND lock.classid = public.worker_lock_space()
          AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND lock.objid::bigint = ANY (dead)
    LOOP
        BEGIN
            PERFORM pg_terminate_backend(session.pid);
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE WARNING 'session % of worker %, which is silent, cannot be ended: %', session.pid, session.worker, SQLERRM;
        END;
    END LOOP;
END $$;
