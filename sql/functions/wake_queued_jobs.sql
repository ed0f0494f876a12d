-- Queued jobs that no message in the queue will wake get a new one; returns them.
CREATE OR REPLACE FUNCTION public.wake_queued_jobs() RETURNS SETOF public.background_jobs
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    job public.background_jobs;
BEGIN
    FOR job IN
        SELECT * FROM public.background_jobs j
        WHERE j.status = 'queued' AND NOT EXISTS (
            SELECT FROM dramatiq.queue q
            WHERE q.message_id = j.message_id
              AND (q.state = 'queued' OR q.state = 'consumed' AND (q.worker_id IS NOT NULL
                   OR q.mtime > now() - interval '15 minutes')))  -- taken by a stock consumer, which may have died
        ORDER BY j.id LIMIT 1000 FOR UPDATE SKIP LOCKED
    LOOP
        RETURN NEXT public.send_job_message(job.id);
    END LOOP;
END $$;
