-- How many items a second a running job does, pauses between its batches counted: over the last half to whole minute, or
-- since its claim. Null while that is less than 10 s, and for jobs that do not run.
CREATE OR REPLACE FUNCTION public.rate_of(job public.background_jobs) RETURNS double precision
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN job.status = 'running' AND seconds >= 10
                THEN round(((job.processed - job.rate_from) / seconds)::numeric, 2)::double precision END
    FROM (SELECT extract(epoch FROM clock_timestamp() - job.rate_from_at)::double precision AS seconds) AS measured
$$;

-- In how many seconds it will be done, at that rate; null until that means something.
CREATE OR REPLACE FUNCTION public.eta_of(job public.background_jobs) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN rate > 0 AND job.total >= job.processed THEN ceil((job.total - job.processed) / rate)::bigint END
    FROM (SELECT public.rate_of(job) AS rate) AS measured
$$;
