-- What an operator can ask in psql, without any right on our tables: it runs with those of the role that released. Who asks
-- is recorded as session_user, which nobody can make up.

-- Why is this job not moving?
CREATE OR REPLACE FUNCTION ops.why(job_id bigint)
RETURNS TABLE (reason text, since timestamptz, evidence jsonb, sentence text, remedy text)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT * FROM public.why_job(job_id, true)
$$;
COMMENT ON FUNCTION ops.why(bigint) IS 'Why is this job not moving? The reason, since when, what it rests on, a sentence, and what to do';
