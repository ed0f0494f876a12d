-- Records what just happened to a job. `job` is the row after the change. `longhaul.token` is the id of the API token of the
-- request; the web process sets it for its transaction. `detail` may name another token, of an earlier request.
CREATE OR REPLACE FUNCTION public.log_job_event(
    job public.background_jobs, event text, from_status text, who text, why text,
    worker_id integer DEFAULT NULL, detail jsonb DEFAULT NULL
) RETURNS void LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO public.job_events (job_id, event, from_status, to_status, actor, reason, attempt, worker_id, detail)
    SELECT job.id, event, from_status, job.status, who, why, job.attempt, coalesce(worker_id, job.worker_id),
           CASE WHEN token IS NULL THEN detail
                ELSE jsonb_build_object('token_id', token) || coalesce(detail, '{}') END
    FROM (SELECT nullif(current_setting('longhaul.token', true), '')::bigint AS token) AS asked
$$;
