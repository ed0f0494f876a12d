-- A running job's items per second, pauses between batches included: over the last 30 to 60 s, or since its claim. Null
-- for the first 10 s, and for jobs that are not running.
CREATE OR REPLACE FUNCTION public.rate_of(job public.background_jobs) RETURNS double precision
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN job.status = 'running' AND seconds >= 10
                THEN round(((job.processed - job.rate_from) / seconds)::numeric, 2)::double precision END
    FROM (SELECT extract(epoch FROM clock_timestamp() - job.rate_from_at)::double precision AS seconds) AS measured
$$;

-- The seconds until it is done, at that rate; null until it can be estimated.
CREATE OR REPLACE FUNCTION public.eta_of(job public.background_jobs) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN rate > 0 AND job.total >= job.processed THEN ceil((job.total - job.processed) / rate)::bigint END
    FROM (SELECT public.rate_of(job) AS rate) AS measured
$$;
