-- Takes back the message that waits to wake this job, if nobody has claimed it. A job that is paused or cancelled needs
-- none, and one that is resumed again and again leaves none behind.
CREATE OR REPLACE FUNCTION public.drop_job_message(job public.background_jobs) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM dramatiq.queue WHERE message_id = (
        SELECT q.message_id FROM dramatiq.queue q
        WHERE q.message_id = job.message_id AND q.state = 'queued' FOR UPDATE SKIP LOCKED)
$$;
