-- Ends the sessions by which these workers, which are dead to us, still hold their locks: a process that only stood
-- still learns so, when it wakes up, that it has lost its identity.
CREATE OR REPLACE FUNCTION public.end_sessions(dead integer[]) RETURNS void LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_terminate_backend(lock.pid) FROM pg_locks lock
    WHERE lock.locktype = 'advisory' AND lock.objsubid = 2 AND lock.classid = 1819242087
      AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND lock.objid::bigint = ANY (dead)
$$;
