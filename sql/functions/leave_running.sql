-- The only way out of `running`: a worker that stops, the sweep, the stale rule and an operator's reset all pass here,
-- so that each of them honours what somebody asked for. Cancel beats everything; pause beats all but completion.
--
-- `claim`: the attempt that leaves, or null for whoever holds the job. No row: this claim does not hold it any more.
CREATE OR REPLACE FUNCTION public.leave_running(
    job_id bigint, claim integer, target text, event text, who text, why text DEFAULT NULL
) RETURNS SETOF public.background_jobs LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    old public.background_jobs;
    job public.background_jobs;
    ends text;
BEGIN
    SELECT * INTO old FROM public.background_jobs j
    WHERE j.id = leave_running.job_id AND j.status = 'running' AND (claim IS NULL OR j.attempt = claim)
    FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;

    ends := CASE
        WHEN old.requested = 'cancel' THEN 'cancelled'
        WHEN old.requested = 'pause' AND target <> 'completed' THEN 'paused'
        ELSE target
    END;
    UPDATE public.background_jobs j
    SET status = ends, requested = NULL, worker_id = NULL, updated_at = clock_timestamp(),
        finished_at = CASE WHEN ends IN ('completed', 'cancelled', 'failed') THEN clock_timestamp() END,
        last_error = CASE WHEN ends = 'failed' THEN why ELSE last_error END
    WHERE j.id = old.id
    RETURNING * INTO job;

    PERFORM public.log_job_event(job, CASE WHEN ends = target THEN event ELSE ends END, 'running', who, why, old.worker_id,
                          jsonb_build_object('processed', job.processed, 'cursor', job.cursor));
    IF ends = 'queued' THEN
        job := public.send_job_message(job.id);
    END IF;
    RETURN NEXT job;
END $$;
