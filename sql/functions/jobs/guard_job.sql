-- Only our functions may change a job's status or delete a job: they set longhaul.verb around that statement. (A SET clause
-- like that of search_path would be simpler, but only a superuser could create such a function.)
-- A manual edit would leave no event and no message, and its worker would not know. So it is refused, naming the function
-- to use instead.
CREATE OR REPLACE FUNCTION public.guard_job() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    by_hand boolean := coalesce(current_setting('longhaul.verb', true), '') = '';
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF by_hand THEN
            RAISE EXCEPTION 'job % cannot be deleted by hand: %retention deletes it in time (JOB_RETENTION_DAYS)', OLD.id,
                CASE WHEN OLD.status IN ('completed', 'cancelled', 'failed') THEN ''
                     ELSE format('end it with SELECT ops.cancel_job(%s, ''your name'', ''why''); ', OLD.id) END;
        END IF;
        RETURN OLD;
    END IF;
    IF by_hand THEN
        RAISE EXCEPTION 'the status of job % cannot be changed by hand from % to %: %', OLD.id, OLD.status, NEW.status,
            public.instead_of_a_hand(OLD.id, OLD.status, NEW.status);
    END IF;
    RETURN NEW;
END $$;

-- The function to use instead, if there is one.
CREATE OR REPLACE FUNCTION public.instead_of_a_hand(job_id bigint, old_status text, new_status text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN old_status IN ('completed', 'cancelled') THEN 'that is final; start a new job (POST /api/jobs)'
        WHEN new_status = 'completed' AND old_status = 'failed' THEN
            'only its worker completes it; to go on: ' || format(verb, 'resume')
        WHEN new_status = 'completed' THEN 'only its worker completes it; to end it: ' || format(verb, 'cancel')
        WHEN new_status = 'cancelled' AND old_status = 'failed' THEN 'it has ended already'
        WHEN new_status = 'cancelled' THEN 'use ' || format(verb, 'cancel')
        WHEN new_status = 'paused' AND old_status <> 'failed' THEN 'use ' || format(verb, 'pause')
        WHEN new_status = 'failed' AND old_status = 'running' THEN 'use ' || format(verb, 'reset')
        WHEN new_status = 'failed' THEN 'to end it: ' || format(verb, 'cancel')
        WHEN old_status = 'running' THEN 'use ' || format(verb, 'reset') || ', then ' || format(verb, 'resume')
        WHEN new_status = 'running' AND old_status = 'queued' THEN
            'a worker claims it; SELECT * FROM ops.why(' || job_id || ') says what it waits for'
        ELSE 'use ' || format(verb, 'resume') END
    FROM (SELECT 'SELECT ops.%s_job(' || job_id || ', ''your name'', ''why'')' AS verb) AS v
$$;

-- For retention: deletes finished jobs, with their events. Returns the ids of those deleted.
CREATE OR REPLACE FUNCTION public.clear_jobs(ids bigint[]) RETURNS SETOF bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('longhaul.verb', 'clear_jobs', true);
    RETURN QUERY DELETE FROM public.background_jobs j
    WHERE j.id = ANY (ids) AND j.status IN ('completed', 'cancelled', 'failed') RETURNING j.id;
    PERFORM set_config('longhaul.verb', '', true);
END $$;
