-- The API's verbs, for an operator in psql: the same functions, the same rows, events and messages. The event names `who`,
-- and the session's role in the database if that is different.

CREATE OR REPLACE FUNCTION ops.name_of(who text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF coalesce(trim(who), '') = '' THEN
        RAISE EXCEPTION 'who: found nothing, expected your name' USING ERRCODE = 'LH400';
    END IF;
    RETURN CASE WHEN trim(who) = session_user THEN format('psql:%s', session_user)
                ELSE format('psql:%s (%s)', session_user, trim(who)) END;
END $$;
COMMENT ON FUNCTION ops.name_of(text) IS 'How an operator is named in the events of a job: psql:<the session''s role> (<who>)';

CREATE OR REPLACE FUNCTION ops.pause_job(job_id bigint, who text, why text DEFAULT NULL) RETURNS public.background_jobs
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT * FROM public.pause_job(job_id, ops.name_of(who), why)
$$;
COMMENT ON FUNCTION ops.pause_job(bigint, text, text) IS
    'Pauses a job: at once, or at the end of the current batch. ops.pause_job(123, ''your name'', ''why'')';

CREATE OR REPLACE FUNCTION ops.cancel_job(job_id bigint, who text, why text DEFAULT NULL) RETURNS public.background_jobs
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT * FROM public.cancel_job(job_id, ops.name_of(who), why)
$$;
COMMENT ON FUNCTION ops.cancel_job(bigint, text, text) IS
    'Cancels a job for good: at once, or at the end of the current batch. ops.cancel_job(123, ''your name'', ''why'')';

CREATE OR REPLACE FUNCTION ops.resume_job(job_id bigint, who text, why text DEFAULT NULL) RETURNS public.background_jobs
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT * FROM public.resume_job(job_id, ops.name_of(who), why)
$$;
COMMENT ON FUNCTION ops.resume_job(bigint, text, text) IS
    'Resumes a job: a paused or failed one from its cursor, a snoozed one at once. ops.resume_job(123, ''your name'', ''why'')';

CREATE OR REPLACE FUNCTION ops.reset_job(job_id bigint, who text, why text DEFAULT NULL) RETURNS public.background_jobs
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT * FROM public.reset_job(job_id, ops.name_of(who), why)
$$;
COMMENT ON FUNCTION ops.reset_job(bigint, text, text) IS
    'Takes a running job from its worker, whatever the worker does; the job fails and can be resumed. ops.reset_job(123, ''your name'', ''why'')';

-- It belongs to no job, so it is recorded in the server's log.
CREATE OR REPLACE FUNCTION ops.retry_purge(who text, why text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    number bigint := public.retry_purge();
BEGIN
    RAISE LOG 'longhaul: % made % objects due to be deleted at once%', ops.name_of(who), number, coalesce(': ' || why, '');
    RETURN number;
END $$;
COMMENT ON FUNCTION ops.retry_purge(text, text) IS
    'Retries at once all objects that are still to be deleted from the bucket. ops.retry_purge(''your name'', ''why'')';
