-- The user verbs of a job, for the API, the page and psql alike:
--
--     SELECT * FROM pause_job(123, 'dana', 'month end');
--
-- Each returns the job after the change. Repeating a request changes nothing.
-- Errors: LH404 no such job; LH409 its status does not allow it (DETAIL: the status); LH423 another job of this
-- business, type and key is active (DETAIL: its id).

-- The job, locked until the end of the transaction. LH404 if there is none.
CREATE OR REPLACE FUNCTION public.lock_job(job_id bigint) RETURNS public.background_jobs
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    job public.background_jobs;
BEGIN
    SELECT * INTO job FROM public.background_jobs j WHERE j.id = lock_job.job_id FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no job %', job_id USING ERRCODE = 'LH404';
    END IF;
    RETURN job;
END $$;

-- LH409, with the status that does not allow it.
CREATE OR REPLACE FUNCTION public.refuse_verb(job public.background_jobs, verb text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'job % is %, so it cannot %', job.id,
        job.status || CASE WHEN job.requested = 'cancel' THEN ' and about to be cancelled' ELSE '' END, verb
        USING ERRCODE = 'LH409', DETAIL = job.status;
END $$;

-- Changes the status at once, for a job that no worker performs.
CREATE OR REPLACE FUNCTION public.move_job(old public.background_jobs, new_status text, event text, who text, why text)
RETURNS public.background_jobs LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    job public.background_jobs;
BEGIN
    PERFORM set_config('longhaul.verb', 'move_job', true);
    UPDATE public.background_jobs j
    SET status = new_status, requested = NULL, updated_at = clock_timestamp(),
        finished_at = CASE WHEN new_status = 'cancelled' THEN clock_timestamp() END,
        wait_until = NULL, waits_since = NULL, waiting_for = NULL
    WHERE j.id = old.id
    RETURNING * INTO job;
    PERFORM set_config('longhaul.verb', '', true);
    PERFORM public.drop_job_message(job);
    PERFORM public.log_job_event(job, event, old.status, who, why);
    RETURN job;
END $$;

-- Sends a request to the worker that runs the job, or withdraws it (null).
CREATE OR REPLACE FUNCTION public.ask_running(old public.background_jobs, request text, event text, who text, why text)
RETURNS public.background_jobs LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    job public.background_jobs;
BEGIN
    UPDATE public.background_jobs j SET requested = request WHERE j.id = old.id RETURNING * INTO job;
    PERFORM public.log_job_event(job, event, job.status, who, why);
    RETURN job;
END $$;

-- Pauses a job: at once, or at the end of the current batch.
CREATE OR REPLACE FUNCTION public.pause_job(job_id bigint, who text, why text DEFAULT NULL) RETURNS public.background_jobs
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    job public.background_jobs := public.lock_job(job_id);
BEGIN
    CASE
        WHEN job.status = 'queued' THEN
            RETURN public.move_job(job, 'paused', 'paused', who, why);
        WHEN job.status = 'running' AND job.requested IS NULL THEN
            RETURN public.ask_running(job, 'pause', 'pause_requested', who, why);
        WHEN job.status = 'paused' OR job.requested = 'pause' THEN
            RETURN job;
        ELSE
            PERFORM public.refuse_verb(job, 'be paused');
    END CASE;
END $$;

-- Cancels a job for good: at once, or at the end of the current batch.
CREATE OR REPLACE FUNCTION public.cancel_job(job_id bigint, who text, why text DEFAULT NULL) RETURNS public.background_jobs
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    job public.background_jobs := public.lock_job(job_id);
BEGIN
    CASE
        WHEN job.status IN ('queued', 'paused') THEN
            RETURN public.move_job(job, 'cancelled', 'cancelled', who, why);
        WHEN job.status = 'running' AND job.requested IS DISTINCT FROM 'cancel' THEN
            RETURN public.ask_running(job, 'cancel', 'cancel_requested', who, why);
        WHEN job.status = 'cancelled' OR job.requested = 'cancel' THEN
            RETURN job;
        ELSE
            PERFORM public.refuse_verb(job, 'be cancelled');
    END CASE;
END $$;

-- The error of the last failed row, or null. Used by resume, because the error of the job's failure has replaced it.
CREATE OR REPLACE FUNCTION public.last_refusal(job public.background_jobs) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT e.reason FROM public.job_events e
    WHERE e.job_id = job.id AND e.event = 'row_failed' AND job.failed_count > 0 ORDER BY e.id DESC LIMIT 1
$$;

-- Resumes a job: a paused or failed one from its cursor, a snoozed one at once; withdraws a requested pause.
CREATE OR REPLACE FUNCTION public.resume_job(job_id bigint, who text, why text DEFAULT NULL) RETURNS public.background_jobs
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    job public.background_jobs := public.lock_job(job_id);
    was text := job.status;
    other bigint;
BEGIN
    CASE
        WHEN job.status IN ('paused', 'failed') THEN
            BEGIN
                PERFORM set_config('longhaul.verb', 'resume_job', true);
                UPDATE public.background_jobs j
                SET status = 'queued', finished_at = NULL, recoveries = 0, refusals = 0, failures = 0, waiting_for = NULL,
                    waits_since = NULL, error_code = NULL,
                    last_error = CASE WHEN was = 'paused' THEN last_error ELSE public.last_refusal(job) END,
                    updated_at = clock_timestamp()
                WHERE j.id = job.id
                RETURNING * INTO job;
                PERFORM set_config('longhaul.verb', '', true);
            EXCEPTION WHEN unique_violation THEN
                SELECT j.id INTO other FROM public.background_jobs j
                WHERE j.business_id = job.business_id AND j.job_type = job.job_type AND j.key = job.key
                  AND j.status IN ('queued', 'running', 'paused');
                RAISE EXCEPTION 'job % cannot be resumed while job % of the same type is active', job.id, other
                    USING ERRCODE = 'LH423', DETAIL = coalesce(other::text, '');  -- null: it has just ended
            END;
            PERFORM public.log_job_event(job, 'resumed', was, who, why);
            RETURN public.send_job_message(job.id);
        WHEN job.status = 'queued' AND job.wait_until IS NOT NULL THEN  -- it need not wait any more
            UPDATE public.background_jobs j
            SET wait_until = NULL, waits_since = NULL, waiting_for = NULL, failures = 0, updated_at = clock_timestamp()
            WHERE j.id = job.id
            RETURNING * INTO job;
            PERFORM public.log_job_event(job, 'resumed', was, who, why);
            RETURN public.send_job_message(job.id);
        WHEN job.requested = 'pause' THEN
            RETURN public.ask_running(job, NULL, 'pause_withdrawn', who, why);
        WHEN job.status = 'queued' OR (job.status = 'running' AND job.requested IS NULL) THEN
            RETURN job;
        ELSE
            PERFORM public.refuse_verb(job, 'be resumed');
    END CASE;
END $$;

-- For an operator: takes a running job away from its worker, whatever the worker does, and fails it; it can be resumed.
CREATE OR REPLACE FUNCTION public.reset_job(job_id bigint, who text, why text DEFAULT NULL) RETURNS public.background_jobs
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    job public.background_jobs := public.lock_job(job_id);
BEGIN
    IF job.status <> 'running' THEN
        PERFORM public.refuse_verb(job, 'be reset');
    END IF;
    SELECT * INTO job FROM public.leave_running(job.id, NULL, 'failed', 'reset', who, coalesce(why, 'Reset by ' || who));
    RETURN job;
END $$;
