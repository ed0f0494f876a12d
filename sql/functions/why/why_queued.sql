-- Why a queued job does not begin: part of why_jobs.sql.
CREATE OR REPLACE FUNCTION public.why_queued(
    job public.background_jobs, seen jsonb, for_operator boolean, most_ahead integer,
    OUT reason text, OUT since timestamptz, OUT evidence jsonb
) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    since := job.updated_at;
    evidence := jsonb_build_object('queue', job.queue, 'workers_listening', seen -> 'listening');
    IF job.wait_until > clock_timestamp() THEN
        reason := 'snoozed';
        since := coalesce(job.waits_since, job.updated_at);
        evidence := evidence || jsonb_build_object('wait_until', job.wait_until, 'waiting_for', job.waiting_for);
    ELSIF (seen ->> 'listening')::integer = 0 THEN
        reason := 'no_worker';
        evidence := evidence || jsonb_build_object('queues_taken', seen -> 'queues');
    ELSIF (seen ->> 'knowing')::integer = 0 THEN
        reason := 'unknown_kind';
        evidence := evidence || jsonb_build_object('job_type', job.job_type, 'resends', job.resends);
    ELSE
        SELECT * INTO reason, since, evidence
        FROM public.why_not_claimed(job, seen, evidence, for_operator, most_ahead);
    END IF;
END $$;

-- There is a worker that could take it: what has become of its message?
CREATE OR REPLACE FUNCTION public.why_not_claimed(
    job public.background_jobs, seen jsonb, known jsonb, for_operator boolean, most_ahead integer,
    OUT reason text, OUT since timestamptz, OUT evidence jsonb
) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    message record;
    claim record;
    blocker jsonb;
BEGIN
    since := job.updated_at;
    evidence := known;
    SELECT q.state::text, q.worker_id, q.seq, q.mtime INTO message FROM dramatiq.queue q
    WHERE q.message_id = job.message_id AND q.state IN ('queued', 'consumed');
    IF NOT FOUND THEN
        reason := 'no_message';
        -- What we reject has a reason, and what we end has a worker.
        evidence := evidence || jsonb_build_object('resends', job.resends, 'resent_at', job.resent_at,
            'taken_by_a_stranger_at', (SELECT q.mtime FROM dramatiq.queue q WHERE q.message_id = job.message_id
                                       AND (q.worker_id IS NULL OR q.state = 'rejected' AND q.reason IS NULL)));
    ELSIF message.state = 'consumed' AND message.worker_id IS NULL THEN
        reason := 'no_message';
        since := message.mtime;
        evidence := evidence || jsonb_build_object('taken_by_a_stranger_at', message.mtime);
    ELSIF message.state = 'consumed' AND NOT seen -> 'alive' @> to_jsonb(message.worker_id) THEN
        reason := 'silent_worker';
        since := message.mtime;
        evidence := evidence || jsonb_build_object('worker', message.worker_id);
    ELSIF message.state = 'consumed' THEN
        -- It has begun to claim the job, unless somebody holds the job's row.
        SELECT a.pid, a.query_start INTO claim FROM pg_stat_activity a
        WHERE a.datname = current_database() AND a.wait_event_type = 'Lock' AND a.query LIKE '%public.claim_job(%'
        ORDER BY a.query_start LIMIT 1;
        blocker := CASE WHEN FOUND THEN public.blocker_of(claim.pid, for_operator) END;
        -- A message is claimed for a free thread only, so beginning takes no time.
        reason := CASE WHEN blocker IS NOT NULL THEN 'blocked'
                       WHEN public.silence(message.mtime) > '10 s' THEN 'not_moving' ELSE 'waiting_turn' END;
        since := coalesce(claim.query_start, message.mtime);
        evidence := evidence || jsonb_build_object('worker', message.worker_id, 'ahead', 0, 'blocker', blocker)
            || public.place_of(message.worker_id, for_operator);
    ELSE
        reason := 'waiting_turn';
        evidence := evidence || public.ahead_in_queue(job.queue, message.seq, most_ahead);
    END IF;
END $$;

-- How many messages come before this one, up to `most`, and how many jobs hold the threads meanwhile.
CREATE OR REPLACE FUNCTION public.ahead_in_queue(queue text, before bigint, most integer) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    number bigint;
BEGIN
    IF most = 0 THEN
        RETURN '{}';
    END IF;
    SELECT count(*) INTO number FROM (
        SELECT FROM dramatiq.queue q WHERE q.state = 'queued' AND q.queue_name = queue AND q.seq < before
        ORDER BY q.seq LIMIT most + 1) found;
    RETURN jsonb_build_object('ahead', least(number, most), 'ahead_is_more', number > most, 'jobs_running', (
        SELECT count(*) FROM public.background_jobs j WHERE j.status = 'running' AND j.queue = ahead_in_queue.queue));
END $$;
