-- Of a job that reads an account outside: which one, and what is known of it. Part of why_jobs.sql; '{}' for other jobs.
-- Where the account is, only an operator is told here: not every member of a business may see its connections.
CREATE OR REPLACE FUNCTION public.connection_facts(job public.background_jobs, for_operator boolean) RETURNS jsonb
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((
        SELECT jsonb_build_object('connection', jsonb_strip_nulls(jsonb_build_object(
            'id', c.id, 'status', c.status, 'last_error', c.last_error,
            'host', CASE WHEN for_operator THEN c.settings ->> 'host' END,
            'port', CASE WHEN for_operator THEN c.settings -> 'port' END,
            'folder', CASE WHEN for_operator THEN c.settings ->> 'folder' END)))
        FROM public.connections c
        WHERE c.id = CASE WHEN job.params ->> 'connection_id' ~ '^\d{1,18}$' THEN (job.params ->> 'connection_id')::bigint END
          AND c.business_id = job.business_id), '{}')
$$;
COMMENT ON FUNCTION public.connection_facts(public.background_jobs, boolean) IS 'The account outside that a job reads: its id, its status and what it refused last; for operators where it is';
