-- The checkpoint of a batch: the cursor, the counters and a sign of life, if this attempt still holds the job; else no row.
-- A function, because its session keeps the plan: planning so long a statement anew takes longer than running it.
CREATE OR REPLACE FUNCTION public.checkpoint_job(
    of_job bigint, held integer, reached jsonb, done bigint, not_done bigint, shown jsonb, error text
) RETURNS TABLE (requested text, processed bigint, total bigint, refusals integer, last_error text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY UPDATE public.background_jobs j
    SET cursor = reached, processed = j.processed + done + not_done, succeeded = j.succeeded + done,
        failed_count = j.failed_count + not_done, recoveries = 0, waiting_for = NULL, waits_since = NULL, failures = 0,
        stats = coalesce(shown, j.stats),
        refusals = CASE WHEN done > 0 THEN 0 ELSE j.refusals + not_done END,
        last_error = coalesce(error, CASE WHEN j.failed_count > 0 THEN j.last_error END),
        rate_from_at = CASE WHEN j.rate_next_at < now() - interval '30 s' THEN j.rate_next_at ELSE j.rate_from_at END,
        rate_from = CASE WHEN j.rate_next_at < now() - interval '30 s' THEN j.rate_next ELSE j.rate_from END,
        rate_next_at = CASE WHEN j.rate_next_at < now() - interval '30 s' THEN clock_timestamp() ELSE j.rate_next_at END,
        rate_next = CASE WHEN j.rate_next_at < now() - interval '30 s' THEN j.processed + done + not_done ELSE j.rate_next END,
        heartbeat_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE j.id = of_job AND j.attempt = held AND j.status = 'running'
    RETURNING j.requested, j.processed, j.total, j.refusals, j.last_error;
END $$;
