-- An operator's views in psql. They read with their owner's rights, so that an operator's role needs none on the tables.
-- If a view's columns change, that release's migration drops it.

CREATE OR REPLACE VIEW ops.active_jobs AS
SELECT j.id, j.business_id, j.job_type, j.status, j.requested, j.processed, j.total, j.failed_count,
       public.rate_of(j) AS items_per_second, make_interval(secs => public.eta_of(j)) AS eta,
       j.worker_id, w.hostname || ':' || w.pid AS worker, j.attempt, j.recoveries,
       now() - j.heartbeat_at AS since_heartbeat, now() - j.updated_at AS since_change,
       j.wait_until, j.waiting_for, j.last_error, j.queue, j.created_at
FROM public.background_jobs j LEFT JOIN public.workers w ON w.id = j.worker_id
WHERE j.status IN ('queued', 'running', 'paused');
COMMENT ON VIEW ops.active_jobs IS 'Which jobs are active, how far and how fast are they, and which worker runs them?';

CREATE OR REPLACE VIEW ops.stuck_jobs AS
SELECT w.job_id AS id, j.business_id, j.job_type, j.status, w.reason, now() - w.since AS for_how_long, w.sentence, w.remedy,
       w.evidence
FROM ops.why_not_moving() w JOIN public.background_jobs j ON j.id = w.job_id;
COMMENT ON VIEW ops.stuck_jobs IS 'Which active jobs are not moving, why, and what fixes it? Looks at the first 1 000 that may be stuck';

CREATE OR REPLACE VIEW ops.queues AS
SELECT queue, waiting, delayed, taken, oldest_waiting, workers, jobs_waiting, jobs_snoozed, jobs_running,
       workers = 0 AND waiting + jobs_waiting > 0 AS is_left_alone
FROM ops.queue_states();
COMMENT ON VIEW ops.queues IS 'What waits in each queue, what is in flight, and how many workers take from it? is_left_alone: work waits, and none does';

CREATE OR REPLACE VIEW ops.workers AS
SELECT w.id, w.hostname, w.pid,
       CASE WHEN s.worker_id IS NULL THEN 'dead' WHEN s.silent_for > '15 s' THEN 'dead: silent'
            WHEN s.silent_for > '5 s' THEN 'silent' ELSE 'alive' END AS state,
       s.silent_for, w.queues, w.kinds, w.release, w.started_at, s.session_pid,
       ARRAY(SELECT j.id FROM public.background_jobs j
             WHERE j.status = 'running' AND j.worker_id = w.id ORDER BY j.id) AS jobs
FROM public.workers w LEFT JOIN ops.worker_sessions() s ON s.worker_id = w.id
WHERE s.worker_id IS NOT NULL OR w.stopped_at IS NULL AND w.started_at > now() - interval '1 day'
   OR w.id IN (SELECT j.worker_id FROM public.background_jobs j WHERE j.status = 'running');
COMMENT ON VIEW ops.workers IS
    'Which workers are alive, what do they listen to, which jobs do they run; and which fell silent or died within a day?';

CREATE OR REPLACE VIEW ops.history AS
SELECT j.id, j.business_id, j.job_type, j.status, j.processed, j.total, j.failed_count,
       j.created_at, j.started_at, j.finished_at, j.finished_at - j.started_at AS took,
       round((j.processed / nullif(extract(epoch FROM j.finished_at - j.started_at), 0))::numeric, 2) AS items_per_second,
       j.last_error, j.error_code, j.requested_by_user_id, c.failed AS attachments_failed, c.pending AS attachments_pending
FROM public.background_jobs j LEFT JOIN public.attachment_counts c ON c.job_id = j.id
WHERE j.status IN ('completed', 'cancelled', 'failed');
COMMENT ON VIEW ops.history IS 'Which jobs have ended, how, and how fast were they? Add ORDER BY id DESC LIMIT 20';

CREATE OR REPLACE VIEW ops.events AS
SELECT e.job_id, e.id, e.at, e.event, e.from_status, e.to_status, e.actor, e.reason, e.attempt, e.worker_id, e.detail
FROM public.job_events e;
COMMENT ON VIEW ops.events IS 'What happened to a job, and who did it? WHERE job_id = 123 ORDER BY id';

CREATE OR REPLACE VIEW ops.throughput AS
WITH ended AS (
    SELECT q.queue_name AS queue, q.state = 'rejected' AS is_rejected, q.mtime > now() - interval '1 minute' AS is_new,
           count(*) AS n
    FROM dramatiq.queue q
    WHERE q.state IN ('done', 'rejected') AND q.mtime > now() - interval '15 minutes' GROUP BY 1, 2, 3
), running AS (
    SELECT j.queue, count(*) AS jobs, sum(public.rate_of(j)) AS items
    FROM public.background_jobs j WHERE j.status = 'running' GROUP BY 1
)
SELECT queue, coalesce(max(r.jobs), 0) AS jobs_running, max(r.items) AS items_per_second,
       coalesce(sum(e.n) FILTER (WHERE e.is_new AND NOT e.is_rejected), 0) AS messages_done_1_min,
       coalesce(sum(e.n) FILTER (WHERE NOT e.is_rejected), 0) AS messages_done_15_min,
       coalesce(sum(e.n) FILTER (WHERE e.is_rejected), 0) AS messages_rejected_15_min
FROM ended e FULL JOIN running r USING (queue) GROUP BY queue;
COMMENT ON VIEW ops.throughput IS 'How much is done in each queue: running jobs'' items per second, messages in the last 1 and 15 minutes';

CREATE OR REPLACE VIEW ops.rejected_messages AS
SELECT q.message_id, q.queue_name AS queue, q.mtime AS at, q.reason, q.losses, q.message ->> 'actor_name' AS actor
FROM dramatiq.queue q WHERE q.state = 'rejected';
COMMENT ON VIEW ops.rejected_messages IS 'Which messages were rejected, and why? Add ORDER BY at DESC LIMIT 20';

CREATE OR REPLACE VIEW ops.outbox AS
SELECT a.business_id, a.purge_job_id AS job_id, count(*) AS objects, min(a.purge_requested_at) AS since,
       max(a.purge_attempts) AS attempts, min(a.purge_after) AS next_try, max(a.purge_error) AS an_error
FROM public.attachments a WHERE a.purge_requested_at IS NOT NULL AND a.purged_at IS NULL
GROUP BY a.business_id, a.purge_job_id;
COMMENT ON VIEW ops.outbox IS 'Which objects are still to be deleted from the bucket, since when, and what does the bucket say?';

CREATE OR REPLACE VIEW ops.blocked_sessions AS
SELECT pid, application, waits, query, blocker_pid, blocker, blocker_state, blocker_transaction, blocker_query
FROM ops.lock_waits();
COMMENT ON VIEW ops.blocked_sessions IS 'Which sessions wait for a lock, how long, and who blocks them?';

DO $$
DECLARE
    name text;
BEGIN
    IF coalesce(obj_description('ops'::regnamespace), '') = ''
        AND pg_has_role((SELECT nspowner FROM pg_namespace WHERE nspname = 'ops'), 'USAGE') THEN
        COMMENT ON SCHEMA ops IS 'For operators with psql: views and functions. \dv+ ops.* and \df+ ops.* describe each';
    END IF;
    -- Only roles with a GRANT may call these: python -m service roles.
    FOR name IN SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'ops'::regnamespace LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', name);
    END LOOP;
END $$;
