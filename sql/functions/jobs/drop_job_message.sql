-- Removes this job's waiting message, if nobody has claimed it. So a paused or cancelled job has none, and resuming a job
-- repeatedly leaves none behind.
CREATE OR REPLACE FUNCTION public.drop_job_message(job public.background_jobs) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM dramatiq.queue WHERE message_id = (
        SELECT q.message_id FROM dramatiq.queue q
        WHERE q.message_id = job.message_id AND q.state = 'queued' FOR UPDATE SKIP LOCKED)
$$;
