-- The API's verbs, for an operator in psql: the same functions, the same rows, events and messages. The event names `who`,
-- and the session's role in the database if that is different.

-- `what` names the text in the error. A line break, or a character that changes the direction of text, could make one event
-- or log line look like another.
CREATE OR REPLACE FUNCTION ops.checked(what text, value text, longest integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF length(value) > longest THEN
        RAISE EXCEPTION '%: found % characters, expected up to %', what, length(value), longest USING ERRCODE = 'LH400';
    ELSIF value ~ '[\u0001-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]' THEN
        RAISE EXCEPTION '%: found a control character, expected text on one line', what USING ERRCODE = 'LH400';
    END IF;
    RETURN value;
END $$;
COMMENT ON FUNCTION ops.checked(text, text, integer) IS 'The text as it is; LH400 for one that is too long or not on one line';

CREATE OR REPLACE FUNCTION ops.name_of(who text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text := trim(ops.checked('who', who, 100));
BEGIN
    IF coalesce(name, '') = '' THEN
        RAISE EXCEPTION 'who: found nothing, expected your name' USING ERRCODE = 'LH400';
    END IF;
    RETURN CASE WHEN name = session_user THEN format('psql:%s', session_user)
                ELSE format('psql:%s (%s)', session_user, name) END;
END $$;
COMMENT ON FUNCTION ops.name_of(text) IS 'How an operator is named in the events of a job: psql:<the session''s role> (<who>)';

-- In psql no API token asks, whatever longhaul.token says in the session. (SET on the function would need a superuser.)
CREATE OR REPLACE FUNCTION ops.pause_job(job_id bigint, who text, why text DEFAULT NULL) RETURNS public.background_jobs
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('longhaul.token', '', true);
    RETURN public.pause_job(job_id, ops.name_of(who), ops.checked('why', why, 500));
END $$;
COMMENT ON FUNCTION ops.pause_job(bigint, text, text) IS
    'Pauses a job: at once, or at the end of the current batch. ops.pause_job(123, ''your name'', ''why'')';

CREATE OR REPLACE FUNCTION ops.cancel_job(job_id bigint, who text, why text DEFAULT NULL) RETURNS public.background_jobs
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('longhaul.token', '', true);
    RETURN public.cancel_job(job_id, ops.name_of(who), ops.checked('why', why, 500));
END $$;
COMMENT ON FUNCTION ops.cancel_job(bigint, text, text) IS
    'Cancels a job for good: at once, or at the end of the current batch. ops.cancel_job(123, ''your name'', ''why'')';

CREATE OR REPLACE FUNCTION ops.resume_job(job_id bigint, who text, why text DEFAULT NULL) RETURNS public.background_jobs
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('longhaul.token', '', true);
    RETURN public.resume_job(job_id, ops.name_of(who), ops.checked('why', why, 500));
END $$;
COMMENT ON FUNCTION ops.resume_job(bigint, text, text) IS
    'Resumes a job: a paused or failed one from its cursor, a snoozed one at once. ops.resume_job(123, ''your name'', ''why'')';

CREATE OR REPLACE FUNCTION ops.reset_job(job_id bigint, who text, why text DEFAULT NULL) RETURNS public.background_jobs
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('longhaul.token', '', true);
    RETURN public.reset_job(job_id, ops.name_of(who), ops.checked('why', why, 500));
END $$;
COMMENT ON FUNCTION ops.reset_job(bigint, text, text) IS
    'Takes a running job from its worker, whatever the worker does; the job fails and can be resumed. ops.reset_job(123, ''your name'', ''why'')';

-- It belongs to no job, so it is recorded in the server's log.
CREATE OR REPLACE FUNCTION ops.retry_purge(who text, why text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text := ops.name_of(who);
    reason text := ops.checked('why', why, 500);
    number bigint := public.retry_purge();
BEGIN
    RAISE LOG 'longhaul: % made % objects due to be deleted at once%', name, number, coalesce(': ' || reason, '');
    RETURN number;
END $$;
COMMENT ON FUNCTION ops.retry_purge(text, text) IS
    'Retries at once all objects that could not be deleted from the bucket. ops.retry_purge(''your name'', ''why'')';
