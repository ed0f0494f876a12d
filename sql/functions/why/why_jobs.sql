-- Why is this job not moving? One answer for the API, the page and psql: a code, since when, what it rests on, a sentence,
-- and what to do. It only looks; so it can be asked of a standby, and at any time.
--
--     SELECT * FROM ops.why(123);
--
-- `for_operator` adds what may be another tenant's: hosts, and what a blocking session runs. `most_ahead` bounds the count
-- of messages ahead; 0 leaves it out.
-- The codes: no_worker, waiting_turn, snoozed, running, backing_off, blocked, silent_worker, not_moving, paused, stopping,
-- no_message, unknown_kind, bucket_refuses, read_only, needs_reconnect, listing, failed, completed_with_failures, ended.

-- What the workers look like from the outside: asked once for all jobs.
CREATE OR REPLACE FUNCTION public.why_jobs(
    ids bigint[], for_operator boolean DEFAULT false, most_ahead integer DEFAULT 1000
) RETURNS TABLE (job_id bigint, reason text, since timestamptz, evidence jsonb, sentence text, remedy text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF ids = '{}' THEN
        RETURN;  -- what follows looks at all sessions first
    END IF;
    RETURN QUERY
    WITH sessions AS MATERIALIZED (
        SELECT s.*, w.hostname, w.pid, w.queues, w.kinds, coalesce(s.silent_for < '15 s', true) AS alive
        FROM public.worker_silences() s JOIN public.workers w ON w.id = s.worker_id
    ), site AS MATERIALIZED (
        SELECT jsonb_build_object(
            'alive', coalesce(jsonb_agg(worker_id) FILTER (WHERE alive), '[]'),
            'queues', to_jsonb(ARRAY(SELECT DISTINCT unnest(o.queues) FROM sessions o WHERE o.alive ORDER BY 1)),
            'writing', public.what_keeps_from_writing(array_agg(DISTINCT role_id))) AS facts
        FROM sessions
    )
    SELECT j.id, told.reason, told.since, told.evidence,
           public.why_sentence(j, told.reason, told.evidence), public.why_remedy(j, told.reason, told.evidence)
    FROM public.background_jobs j CROSS JOIN site LEFT JOIN sessions own ON own.worker_id = j.worker_id
    CROSS JOIN LATERAL (
        SELECT count(*) AS listening, count(*) FILTER (WHERE l.kinds IS NULL OR j.job_type = ANY (l.kinds)) AS knowing
        FROM sessions l WHERE l.alive AND j.queue = ANY (l.queues)) AS n
    CROSS JOIN LATERAL public.why_job_now(j, site.facts || jsonb_build_object(
        'listening', n.listening, 'knowing', n.knowing, 'silent', extract(epoch FROM own.silent_for)::integer,
        'has_session', own.worker_id IS NOT NULL OR j.worker_id IS NULL), for_operator, most_ahead) AS told
    WHERE j.id = ANY (ids)
    ORDER BY j.id;
END $$;

-- One job. LH404 where there is none.
CREATE OR REPLACE FUNCTION public.why_job(job_id bigint, for_operator boolean DEFAULT false)
RETURNS TABLE (reason text, since timestamptz, evidence jsonb, sentence text, remedy text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT w.reason, w.since, w.evidence, w.sentence, w.remedy
    FROM public.why_jobs(ARRAY[why_job.job_id], for_operator) w;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no job %', job_id USING ERRCODE = 'LH404';
    END IF;
END $$;

-- By the job's status; `seen` is what why_jobs has seen of the workers.
CREATE OR REPLACE FUNCTION public.why_job_now(
    job public.background_jobs, seen jsonb, for_operator boolean, most_ahead integer,
    OUT reason text, OUT since timestamptz, OUT evidence jsonb
) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    last public.job_events;
BEGIN
    IF job.status IN ('completed', 'cancelled', 'failed') THEN
        SELECT * INTO reason, since, evidence FROM public.why_finished(job);
    ELSIF job.status = 'paused' THEN
        SELECT * INTO last FROM public.job_events e WHERE e.job_id = job.id AND e.to_status = 'paused'
        ORDER BY e.id DESC LIMIT 1;
        reason := 'paused';
        since := coalesce(last.at, job.updated_at);
        evidence := jsonb_build_object('paused_by', last.actor, 'why', last.reason, 'token_id', last.detail -> 'token_id');
    ELSIF jsonb_typeof(seen -> 'writing') = 'object' THEN
        reason := 'read_only';
        since := job.updated_at;
        evidence := seen -> 'writing';
    ELSIF job.status = 'queued' THEN
        SELECT * INTO reason, since, evidence FROM public.why_queued(job, seen, for_operator, most_ahead);
    ELSE
        SELECT * INTO reason, since, evidence FROM public.why_running(job, seen, for_operator);
    END IF;
    evidence := jsonb_strip_nulls(evidence || public.connection_facts(job, for_operator));
    IF NOT for_operator AND evidence ? 'attachments_error' THEN
        evidence := evidence || jsonb_build_object('attachments_error', public.for_members(evidence ->> 'attachments_error'));
    END IF;
END $$;

-- An error of the bucket as every member of the business can read it: it does not name our bucket. As for_members() in
-- actors/receipts/attachments.py.
CREATE OR REPLACE FUNCTION public.for_members(error text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT regexp_replace(regexp_replace(error, '^bucket ''[^'']*'' at \S+', 'the bucket'),
                          'arn:\S+|https?://\S+|\y\d{12}\y', '…', 'g')
$$;

-- A job that has ended: how, and whether its files went too.
CREATE OR REPLACE FUNCTION public.why_finished(
    job public.background_jobs, OUT reason text, OUT since timestamptz, OUT evidence jsonb
) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    files public.attachment_counts;
    last public.job_events;
BEGIN
    SELECT * INTO files FROM public.attachment_counts c WHERE c.job_id = job.id;
    SELECT * INTO last FROM public.job_events e WHERE e.job_id = job.id ORDER BY e.id DESC LIMIT 1;
    reason := CASE
        WHEN job.status = 'failed' AND job.error_code = 'needs_reconnect' THEN 'needs_reconnect'
        WHEN job.status = 'failed' THEN 'failed'
        WHEN files.failed > 0 THEN 'bucket_refuses'
        WHEN job.status = 'completed' AND job.failed_count > 0 THEN 'completed_with_failures'
        ELSE 'ended' END;
    since := job.finished_at;
    evidence := jsonb_build_object(
        'status', job.status, 'processed', job.processed, 'total', job.total, 'failed_count', job.failed_count,
        'last_error', job.last_error, 'error_code', job.error_code, 'by', last.actor, 'why', last.reason,
        'attachments_failed', nullif(files.failed, 0), 'attachments_error', files.error);
END $$;
