-- Which active jobs may be stuck? All but those that plainly wait for their turn or their time, or that finished a batch in
-- the last 2 s. why_jobs() asks about each job separately; this leaves it few of ten thousand.
CREATE OR REPLACE FUNCTION public.jobs_to_explain(of_business bigint DEFAULT NULL) RETURNS SETOF bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    is_read_only boolean;
BEGIN
    SELECT public.what_keeps_from_writing(array_agg(DISTINCT s.role_id)) IS NOT NULL INTO is_read_only
    FROM public.worker_sessions() s;
    RETURN QUERY
    WITH live AS MATERIALIZED (
        SELECT s.worker_id, s.silent_for, w.queues, w.kinds
        FROM public.worker_silences() s JOIN public.workers w ON w.id = s.worker_id
        WHERE coalesce(s.silent_for < '15 s', true)
    ), served AS MATERIALIZED (
        SELECT DISTINCT j.queue, j.job_type FROM public.background_jobs j JOIN live l
          ON j.queue = ANY (l.queues) AND (l.kinds IS NULL OR j.job_type = ANY (l.kinds))
        WHERE j.status = 'queued'
    )
    SELECT j.id FROM public.background_jobs j
    WHERE j.status IN ('queued', 'running') AND (of_business IS NULL OR j.business_id = of_business) AND (is_read_only OR CASE
        WHEN j.status = 'running' THEN
            j.updated_at NOT BETWEEN clock_timestamp() - interval '2 s' AND clock_timestamp()
            OR j.waiting_for IS NOT NULL OR j.refusals >= 10
            OR NOT EXISTS (SELECT FROM live l WHERE l.worker_id = j.worker_id AND coalesce(l.silent_for < '5 s', true))
            OR EXISTS (SELECT FROM public.attachment_counts c WHERE c.job_id = j.id AND c.failed > 0)
        WHEN j.wait_until > clock_timestamp() THEN false
        ELSE NOT EXISTS (SELECT FROM dramatiq.queue q WHERE q.message_id = j.message_id AND q.state = 'queued')
            OR NOT EXISTS (SELECT FROM served v WHERE v.queue = j.queue AND v.job_type = j.job_type)
        END);
END $$;
