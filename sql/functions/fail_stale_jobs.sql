-- Running jobs without a heartbeat for `heartbeat_seconds`, or unchanged for `update_seconds`, fail, resumable.
-- Call recover_jobs first: what it takes back is not stale, it only waits.
CREATE OR REPLACE FUNCTION public.fail_stale_jobs(
    type text, heartbeat_seconds integer, update_seconds integer, only_business bigint DEFAULT NULL
) RETURNS SETOF public.background_jobs LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    job public.background_jobs;
    now_at timestamptz := clock_timestamp();
    no_heartbeat_since timestamptz := now_at - make_interval(secs => heartbeat_seconds);
    no_update_since timestamptz := now_at - make_interval(secs => update_seconds);
BEGIN
    FOR job IN
        SELECT * FROM public.background_jobs j
        WHERE j.status = 'running' AND j.job_type = type AND (only_business IS NULL OR j.business_id = only_business)
          AND (j.heartbeat_at < no_heartbeat_since OR j.updated_at < no_update_since)
        ORDER BY j.id FOR UPDATE SKIP LOCKED
    LOOP
        RETURN QUERY SELECT * FROM public.leave_running(job.id, job.attempt, 'failed', 'stale', 'sweep',
            'Server restarted / job heartbeat lost: ' || CASE
                WHEN job.heartbeat_at < no_heartbeat_since
                THEN format('no heartbeat for %s s', extract(epoch FROM now_at - job.heartbeat_at)::integer)
                ELSE format('no update for %s s', extract(epoch FROM now_at - job.updated_at)::integer)
            END);
    END LOOP;
END $$;
