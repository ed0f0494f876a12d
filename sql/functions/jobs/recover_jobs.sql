-- The batch size recorded by a job's last claim; for the sentence about a job that kills its workers.
CREATE OR REPLACE FUNCTION public.last_batch_size(job_id bigint) RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT e.detail ->> 'batch_size' FROM public.job_events e
    WHERE e.job_id = last_batch_size.job_id AND e.event = 'claimed' ORDER BY e.id DESC LIMIT 1
$$;

-- Puts running jobs whose worker is dead back into the queue, from their cursor; returns them after the change.
-- Dead workers are collected first and only their jobs are touched: a worker that is just booting is not among them.
-- The third loss in a row without a checkpoint in between fails the job: it seems to kill its workers. A loss caused by a
-- restart of Postgres does not count (one caused by a crash of one session under the same postmaster does).
-- A job that cannot be moved is named in a warning and delays no other.
CREATE OR REPLACE FUNCTION public.recover_jobs(only_business bigint DEFAULT NULL, only_job bigint DEFAULT NULL)
RETURNS SETOF public.background_jobs
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    dead integer[];
    job public.background_jobs;
BEGIN
    dead := ARRAY(
        SELECT DISTINCT j.worker_id FROM public.background_jobs j
        WHERE j.status = 'running' AND j.worker_id IS NOT NULL
          AND (only_business IS NULL OR j.business_id = only_business)
          AND (only_job IS NULL OR j.id = only_job)
        EXCEPT SELECT public.live_workers());
    IF dead = '{}' THEN
        RETURN;
    END IF;
    PERFORM public.end_sessions(dead);

    FOR job IN
        SELECT * FROM public.background_jobs j
        WHERE j.status = 'running' AND j.worker_id = ANY (dead)
          AND (only_business IS NULL OR j.business_id = only_business)
          AND (only_job IS NULL OR j.id = only_job)
        ORDER BY j.id FOR UPDATE SKIP LOCKED
    LOOP
        BEGIN
            IF pg_postmaster_start_time() < job.heartbeat_at THEN
                job.recoveries := job.recoveries + 1;
                UPDATE public.background_jobs j SET recoveries = job.recoveries WHERE j.id = job.id;
            END IF;
            IF job.recoveries >= 3 THEN
                RETURN QUERY SELECT * FROM public.leave_running(job.id, job.attempt, 'failed', 'failed', 'sweep', format(
                    'worker %s died, the third in a row at cursor %s with batches of %s', job.worker_id,
                    coalesce(job.cursor::text, 'null'), coalesce(public.last_batch_size(job.id), 'unknown size')));
            ELSE
                RETURN QUERY SELECT * FROM public.leave_running(job.id, job.attempt, 'queued', 'recovered', 'sweep',
                                                         format('worker %s died', job.worker_id));
            END IF;
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'job % of worker %, which is dead, cannot be put back: % (%)',
                job.id, job.worker_id, SQLERRM, SQLSTATE;
        END;
    END LOOP;
END $$;
