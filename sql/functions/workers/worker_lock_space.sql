-- 'long' in ASCII: the first key of the advisory lock that a worker's session holds; the second is the worker's id. So
-- other programs' locks cannot collide with ours. The next number is used too: sql/locks.py.
CREATE OR REPLACE FUNCTION public.worker_lock_space() RETURNS integer
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT 1819242087 $$;
