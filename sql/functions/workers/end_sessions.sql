-- Ends the sessions with which these workers, which we consider dead, still hold their locks: so a process that was only
-- suspended learns, when it resumes, that it has lost its identity. If we may not end a session, because it belongs to
-- another role, it is named and left alone: what its worker holds is fenced anyway.
CREATE OR REPLACE FUNCTION public.end_sessions(dead integer[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    session record;
BEGIN
    FOR session IN
        SELECT lock.pid, lock.objid::bigint AS worker FROM pg_locks lock
        WHERE lock.locktype = 'advisory' AND lock.mode = 'ExclusiveLock' AND lock.objsubid = 2
          AND lock.classid = public.worker_lock_space()
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
