-- A worker claims a queued job. No row: the job is not queued (any more) or waits until a time, and there is nothing to
-- do for the message.
-- The new `attempt` fences every later write of this claim. `batch_size` is recorded for diagnosis if the claim is lost.
-- `types`: what the worker performs; a message that names another kind's job claims nothing.
-- The kind's stale limits are stored with the claim, so that one rule serves all kinds.
-- `most`: how many jobs of its type its business may run at once. If there are as many, the job waits.
CREATE OR REPLACE FUNCTION public.claim_job(job_id bigint, worker integer, batch_size integer DEFAULT NULL,
    stale_after interval DEFAULT NULL, unchanged_after interval DEFAULT NULL,
    types text[] DEFAULT NULL, most integer DEFAULT NULL
) RETURNS SETOF public.background_jobs
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    job public.background_jobs;
BEGIN
    IF coalesce(most, 0) > 0 THEN
        IF public.postpone_claim(job_id, most, types) THEN
            RETURN;
        END IF;
    END IF;
    PERFORM set_config('longhaul.verb', 'claim_job', true);
    UPDATE public.background_jobs j
    SET status = 'running', attempt = attempt + 1, worker_id = worker, resends = 0, resent_at = NULL,
        started_at = coalesce(started_at, now()), waiting_for = NULL, wait_until = NULL, error_code = NULL,
        -- Nobody was there to try again, so that time counts for nothing.
        waits_since = CASE WHEN j.wait_until < clock_timestamp() - interval '1 hour' THEN NULL ELSE waits_since END,
        stale_after = claim_job.stale_after, unchanged_after = claim_job.unchanged_after,
        rate_from_at = clock_timestamp(), rate_from = processed, rate_next_at = clock_timestamp(), rate_next = processed,
        heartbeat_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE j.id = claim_job.job_id AND j.status = 'queued' AND (types IS NULL OR j.job_type = ANY (types))
      AND (j.wait_until IS NULL OR j.wait_until <= clock_timestamp())
    RETURNING * INTO job;
    PERFORM set_config('longhaul.verb', '', true);
    IF job.id IS NOT NULL THEN
        PERFORM public.log_job_event(job, 'claimed', 'queued', 'worker:' || worker, NULL, NULL,
                              jsonb_strip_nulls(jsonb_build_object('batch_size', batch_size, 'cursor', job.cursor)));
        RETURN NEXT job;
    END IF;
END $$;

-- Lets a queued job wait if so many of its type run for its business already, or wait for the same and were there before;
-- true if it did. It looks again after 5 s, or later if more wait before it. Claims of one business and type count one after
-- another, each after the commit of the last: otherwise, of those that come at once, none would see another.
CREATE OR REPLACE FUNCTION public.postpone_claim(job_id bigint, most integer, types text[]) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    job public.background_jobs;
    sentence text := format('this business runs as many jobs of this kind as it may at once (%s)', most);
    running bigint;
    before bigint;
BEGIN
    SELECT * INTO job FROM public.background_jobs j
    WHERE j.id = postpone_claim.job_id AND j.status = 'queued' AND (types IS NULL OR j.job_type = ANY (types))
      AND (j.wait_until IS NULL OR j.wait_until <= clock_timestamp()) FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended(job.job_type, job.business_id));
    SELECT count(*) FILTER (WHERE j.status = 'running'), count(*) FILTER (WHERE j.status = 'queued')
    INTO running, before
    FROM public.background_jobs j
    WHERE j.business_id = job.business_id AND j.job_type = job.job_type AND (
        j.status = 'running'
        OR j.status = 'queued' AND j.id <> job.id AND j.waiting_for = sentence
           AND (j.updated_at, j.id) < (job.updated_at, job.id));
    IF running + before < most THEN
        RETURN false;
    END IF;
    UPDATE public.background_jobs j
    SET wait_until = clock_timestamp() + least(interval '5 s' * (1 + before / most), interval '1 minute'),
        waiting_for = sentence
    WHERE j.id = job.id;
    PERFORM public.send_job_message(job.id);
    RETURN true;
END $$;
