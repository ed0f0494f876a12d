-- Sends a new message for queued jobs that have none in the queue; returns them. If that does not help (e.g. the worker
-- rejects it because it does not know this kind), the next one follows after 2, 4, 8 … s, at most 60.
CREATE OR REPLACE FUNCTION public.resend_lost_messages() RETURNS SETOF public.background_jobs
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    job public.background_jobs;
BEGIN
    FOR job IN
        SELECT * FROM public.background_jobs j
        WHERE j.status = 'queued'
          AND (j.resent_at IS NULL OR clock_timestamp() - j.resent_at
               NOT BETWEEN '0 s' AND make_interval(secs => least(power(2, least(j.resends, 6)), 60)))
          AND NOT EXISTS (
            SELECT FROM dramatiq.queue q
            WHERE q.message_id = j.message_id
              AND (q.state = 'queued' OR q.state = 'consumed' AND (q.worker_id IS NOT NULL
                   OR q.mtime > now() - interval '15 minutes')))  -- taken by a stock consumer, which may have died
        ORDER BY j.id LIMIT 1000 FOR UPDATE SKIP LOCKED
    LOOP
        BEGIN
            UPDATE public.background_jobs j SET resends = j.resends + 1, resent_at = clock_timestamp() WHERE j.id = job.id;
            job := public.send_job_message(job.id);
            RETURN NEXT job;
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'job %, which no message will wake, cannot be sent one: %', job.id, SQLERRM;
        END;
    END LOOP;
END $$;
