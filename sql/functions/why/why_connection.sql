-- Of a job that reads an account outside: which one, and what is known of it. Part of why_jobs.sql; '{}' for other jobs.
CREATE OR REPLACE FUNCTION public.connection_facts(job public.background_jobs) RETURNS jsonb
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((
        SELECT jsonb_build_object('connection', jsonb_strip_nulls(jsonb_build_object(
            'id', c.id, 'status', c.status, 'host', c.settings ->> 'host', 'port', c.settings -> 'port',
            'folder', c.settings ->> 'folder', 'last_error', c.last_error)))
        FROM public.connections c
        WHERE c.id = CASE WHEN job.params ->> 'connection_id' ~ '^\d{1,18}$' THEN (job.params ->> 'connection_id')::bigint END
          AND c.business_id = job.business_id), '{}')
$$;
COMMENT ON FUNCTION public.connection_facts(public.background_jobs) IS 'The account outside that a job reads: its id, status, host and folder, and what it refused last';
