-- Puts a new message for this job into the queue, in the caller's transaction, and wakes the workers at its commit.
-- It is an ordinary Dramatiq message that carries only the job's id; the row is the truth.
-- A snoozed job gets a delayed message, as in Dramatiq.
-- An earlier message is removed if it still waits. If a worker has it, it finds the job not queued, or claims it once.
CREATE OR REPLACE FUNCTION public.send_job_message(job_id bigint) RETURNS public.background_jobs
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    job public.background_jobs;
    place text;
    options jsonb := '{}';
BEGIN
    SELECT * INTO STRICT job FROM public.background_jobs j WHERE j.id = send_job_message.job_id;
    PERFORM public.drop_job_message(job);
    UPDATE public.background_jobs j SET message_id = gen_random_uuid() WHERE j.id = send_job_message.job_id
    RETURNING * INTO STRICT job;

    place := job.queue;
    IF job.wait_until > clock_timestamp() THEN
        place := place || '.DQ';
        options := jsonb_build_object('eta', ceil(extract(epoch FROM job.wait_until) * 1000)::bigint);
    END IF;
    INSERT INTO dramatiq.queue (message_id, queue_name, state, mtime, message)
    VALUES (job.message_id, place, 'queued', now(), jsonb_build_object(
        'queue_name', place,
        'actor_name', job.actor,
        'args', jsonb_build_array(job.id),
        'kwargs', jsonb_build_object(),
        'options', options,
        'message_id', job.message_id,
        'message_timestamp', floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint));

    IF place = job.queue THEN
        PERFORM public.wake_workers(ARRAY[place], job.message_id);
    END IF;
    RETURN job;
END $$;
