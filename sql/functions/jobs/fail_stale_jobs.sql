-- Fails running jobs (of one type, or all: null) that have had no heartbeat, or no change, for too long; they can be resumed.
-- The limits are those stored at the claim; if there are none, `heartbeat_seconds` and `update_seconds`.
-- A job that cannot be moved is named in a warning and delays no other.
-- Call recover_jobs first: the jobs that it puts back are not stale, they only wait.
CREATE OR REPLACE FUNCTION public.fail_stale_jobs(
    type text, heartbeat_seconds integer, update_seconds integer, only_business bigint DEFAULT NULL,
    only_job bigint DEFAULT NULL
) RETURNS SETOF public.background_jobs LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    job public.background_jobs;
    silent interval;
    unchanged interval;
BEGIN
    FOR job IN
        SELECT * FROM public.background_jobs j
        WHERE j.status = 'running' AND (type IS NULL OR j.job_type = type)
          AND (only_business IS NULL OR j.business_id = only_business)
          AND (only_job IS NULL OR j.id = only_job)
          AND (public.silence(j.heartbeat_at) > coalesce(j.stale_after, make_interval(secs => heartbeat_seconds))
               OR public.silence(j.updated_at) > coalesce(j.unchanged_after, make_interval(secs => update_seconds)))
        ORDER BY j.id FOR UPDATE SKIP LOCKED
    LOOP
        silent := public.silence(job.heartbeat_at);
        unchanged := public.silence(job.updated_at);
        BEGIN
            RETURN QUERY SELECT * FROM public.leave_running(job.id, job.attempt, 'failed', 'stale', 'sweep',
                'Server restarted / job heartbeat lost: ' || CASE
                    WHEN silent > coalesce(job.stale_after, make_interval(secs => heartbeat_seconds))
                    THEN format('no heartbeat for %s s', extract(epoch FROM silent)::integer)
                    ELSE format('no update for %s s', extract(epoch FROM unchanged)::integer)
                END);
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'job %, which is stale, cannot be failed: % (%)', job.id, SQLERRM, SQLSTATE;
        END;
    END LOOP;
END $$;
