-- Creates a job, its first event and its message in the caller's transaction: all commit, or none.
-- Raises unique_violation if another job of this business, type and key is active.
CREATE OR REPLACE FUNCTION public.start_job(
    business_id bigint, job_type text, queue text, params jsonb, total bigint, user_id bigint, who text,
    key text DEFAULT ''
) RETURNS public.background_jobs LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    job public.background_jobs;
BEGIN
    IF job_type !~ '^[a-z][a-z0-9_]{0,62}$' THEN
        RAISE EXCEPTION 'job_type: found %, expected the name of a kind, such as delete_receipts', job_type
            USING ERRCODE = 'LH400';
    END IF;
    IF queue <> ALL (ARRAY['high', 'default', 'low', 'receipts', 'receipts_sync', 'maintenance', 'recordings',
                           'broadcasts']) THEN
        RAISE EXCEPTION 'queue: found %, which no worker takes from', queue USING ERRCODE = 'LH400';
    END IF;
    IF params IS NULL OR jsonb_typeof(params) <> 'object' THEN
        RAISE EXCEPTION 'params: found %, expected an object', coalesce(jsonb_typeof(params), 'null')
            USING ERRCODE = 'LH400';
    END IF;
    INSERT INTO public.background_jobs (business_id, job_type, queue, actor, params, total, requested_by_user_id, key)
    VALUES (business_id, job_type, queue, job_type, params, total, user_id, key)
    RETURNING * INTO job;
    PERFORM public.log_job_event(job, 'created', NULL, who, NULL);
    RETURN public.send_job_message(job.id);
END $$;
