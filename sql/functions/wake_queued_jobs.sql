-- Queued jobs that no message in the queue will wake get a new one; returns them.
-- And those that have waited for 5 s have their message told of again: a worker that died with it, or gave it back as it
-- stopped, told nobody. Whoever has it in hand ignores that.
CREATE OR REPLACE FUNCTION wake_queued_jobs() RETURNS SETOF background_jobs LANGUAGE plpgsql AS $$
DECLARE
    job background_jobs;
BEGIN
    FOR job IN
        SELECT * FROM background_jobs j
        WHERE j.status = 'queued' AND NOT EXISTS (
            SELECT FROM dramatiq.queue q WHERE q.message_id = j.message_id AND q.state IN ('queued', 'consumed'))
        ORDER BY j.id LIMIT 1000 FOR UPDATE SKIP LOCKED
    LOOP
        RETURN NEXT send_job_message(job.id);
    END LOOP;

    PERFORM pg_notify('dramatiq.' || j.queue || '.enqueue', jsonb_build_object('message_id', j.message_id)::text)
    FROM background_jobs j
    WHERE j.status = 'queued' AND j.message_id IS NOT NULL AND j.updated_at < clock_timestamp() - interval '5 seconds'
    ORDER BY j.updated_at LIMIT 20;
END $$;
