-- The only way out of `running`: a stopping worker, the sweep, the stale rule and an operator's reset all use it, so that
-- each obeys what was requested. Cancel beats everything; pause beats everything except completion.
-- The event then names who asked, and why; the worker's own error is kept in its detail.
--
-- Clears what the job waited for; `last_error` keeps a row's error, or on failure says why. (A worker of the previous
-- release writes there what it waits for: if no row failed, that is cleared too.)
--
-- `wait`: the job continues after that time, or earlier if it is resumed; `why` is what it waits for. After 24 hours of
-- waiting without progress it fails. A wait lasts at least a tenth of the time waited so far, up to a minute: otherwise a
-- service that asks for one second again and again would fill the timeline.
--
-- `code` says why it failed, for programs. `failures` is the number of consecutive tries that another service has failed;
-- the next claim starts from it.
--
-- `claim`: the attempt that leaves, or null for any. No row: this claim no longer holds the job.
CREATE OR REPLACE FUNCTION public.leave_running(
    job_id bigint, claim integer, target text, event text, who text, why text DEFAULT NULL,
    wait interval DEFAULT NULL, code text DEFAULT NULL, failures integer DEFAULT 0
) RETURNS SETOF public.background_jobs LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    old public.background_jobs;
    job public.background_jobs;
    ends text;
    asked public.job_events;
    detail jsonb;
BEGIN
    SELECT * INTO old FROM public.background_jobs j
    WHERE j.id = leave_running.job_id AND j.status = 'running' AND (claim IS NULL OR j.attempt = claim)
    FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;

    IF wait IS NOT NULL AND old.waits_since < clock_timestamp() - interval '24 hours' THEN
        target := 'failed';
        event := 'failed';
        why := format('waited for 24 hours without progress, the last time because: %s', why);
        code := 'waited_in_vain';
    END IF;
    ends := CASE
        WHEN old.requested = 'cancel' THEN 'cancelled'
        WHEN old.requested = 'pause' AND target <> 'completed' THEN 'paused'
        ELSE target
    END;
    PERFORM set_config('longhaul.verb', 'leave_running', true);
    UPDATE public.background_jobs j
    SET status = ends, requested = NULL, worker_id = NULL, updated_at = clock_timestamp(),
        finished_at = CASE WHEN ends IN ('completed', 'cancelled', 'failed') THEN clock_timestamp() END,
        wait_until = CASE WHEN ends = 'queued' AND wait IS NOT NULL THEN clock_timestamp()
                              + greatest(wait, least(coalesce(clock_timestamp() - old.waits_since, '0') / 10, '1 minute')) END,
        failures = CASE WHEN ends = 'queued' THEN leave_running.failures ELSE 0 END,
        waits_since = CASE WHEN ends = 'queued' AND wait IS NOT NULL THEN coalesce(waits_since, clock_timestamp())
                           WHEN ends = 'queued' THEN waits_since END,
        waiting_for = CASE WHEN ends = 'queued' AND wait IS NOT NULL THEN why END,
        error_code = CASE WHEN ends = 'failed' THEN code END,
        last_error = CASE WHEN ends = 'failed' THEN why WHEN failed_count > 0 THEN last_error END
    WHERE j.id = old.id
    RETURNING * INTO job;
    PERFORM set_config('longhaul.verb', '', true);

    detail := jsonb_build_object('processed', job.processed, 'cursor', job.cursor)
        || jsonb_strip_nulls(jsonb_build_object('wait_until', job.wait_until, 'code', job.error_code));
    IF ends <> target THEN
        IF target = 'failed' THEN
            detail := detail || jsonb_build_object('error', why);
        END IF;
        SELECT * INTO asked FROM public.job_events e
        WHERE e.job_id = old.id AND e.event = old.requested || '_requested' ORDER BY e.id DESC LIMIT 1;
        IF FOUND THEN
            who := asked.actor;
            why := asked.reason;
            detail := detail || jsonb_strip_nulls(jsonb_build_object('token_id', asked.detail -> 'token_id'));
        END IF;
        event := ends;
    END IF;
    PERFORM public.log_job_event(job, event, 'running', who, why, old.worker_id, detail);
    IF ends = 'queued' THEN
        job := public.send_job_message(job.id);
    END IF;
    RETURN NEXT job;
END $$;
