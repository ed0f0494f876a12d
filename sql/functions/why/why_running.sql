-- Why a running job does not go on: part of why_jobs.sql. Its session is found by its name, which a run sets when it takes
-- its connection: actors/runtime/jobs/blockers.py.
CREATE OR REPLACE FUNCTION public.why_running(
    job public.background_jobs, seen jsonb, for_operator boolean,
    OUT reason text, OUT since timestamptz, OUT evidence jsonb
) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    files public.attachment_counts;
    silent integer := (seen ->> 'silent')::integer;
BEGIN
    evidence := public.facts_of_run(job, for_operator) || jsonb_build_object('workers_listening', seen -> 'listening');
    IF NOT (seen ->> 'has_session')::boolean OR silent > 5 THEN
        reason := 'silent_worker';
        since := CASE WHEN silent > 5 THEN clock_timestamp() - make_interval(secs => silent) ELSE job.heartbeat_at END;
        evidence := evidence || jsonb_build_object('silent_seconds', silent);
        RETURN;
    END IF;
    SELECT * INTO reason, since, evidence FROM public.why_held_up(job, evidence, for_operator);
    IF reason IS NOT NULL THEN
        RETURN;
    END IF;

    SELECT * INTO files FROM public.attachment_counts c WHERE c.job_id = job.id;
    since := coalesce(job.started_at, job.updated_at);
    reason := CASE WHEN files.failed > 0 THEN 'bucket_refuses' WHEN job.cursor ->> 'phase' = 'list' THEN 'listing' ELSE 'running' END;
    IF reason = 'listing' THEN
        evidence := evidence || jsonb_build_object(
            'pages_scanned', job.stats -> 'pages_scanned', 'messages_listed', job.stats -> 'messages_listed');
    END IF;
    IF files.failed > 0 THEN
        evidence := evidence || jsonb_build_object('attachments_failed', files.failed, 'attachments_error', files.error);
    END IF;
END $$;

-- Its worker lives. `reason` is null when nothing holds the job up.
CREATE OR REPLACE FUNCTION public.why_held_up(
    job public.background_jobs, known jsonb, for_operator boolean,
    OUT reason text, OUT since timestamptz, OUT evidence jsonb
) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    blocker jsonb;
    asked public.job_events;
BEGIN
    evidence := known;
    blocker := public.blocker_of((known ->> 'backend_pid')::integer, for_operator);
    IF blocker IS NULL AND job.waiting_for IS NOT NULL THEN  -- between two tries; is it still there?
        -- Only at the end, where nobody else's words stand: those of a mail server are quoted, and may say the same.
        blocker := public.session_facts(substring(job.waiting_for FROM
            '; blocked by the session with the pid (\d{1,9})(?:, whose transaction is \d+ s old)?$')::integer, for_operator);
    END IF;
    IF blocker IS NOT NULL THEN
        reason := 'blocked';
        since := coalesce((known ->> 'query_start')::timestamptz, job.waits_since, job.updated_at);
        evidence := evidence || jsonb_build_object('blocker', blocker, 'waiting_for', job.waiting_for);
    ELSIF job.requested IS NOT NULL THEN
        SELECT * INTO asked FROM public.job_events e
        WHERE e.job_id = job.id AND e.event = job.requested || '_requested' ORDER BY e.id DESC LIMIT 1;
        reason := 'stopping';
        since := coalesce(asked.at, job.updated_at);
        evidence := evidence || jsonb_build_object('requested', job.requested, 'by', asked.actor, 'why', asked.reason);
    ELSIF job.waiting_for IS NOT NULL AND public.silence(job.heartbeat_at) < '40 s' THEN
        reason := 'backing_off';
        since := coalesce(job.waits_since, job.updated_at);
        evidence := evidence || jsonb_build_object('waiting_for', job.waiting_for);
    ELSIF job.refusals >= 10 OR public.silence(job.updated_at) > '30 s' THEN
        reason := 'not_moving';
        -- Of a row of refusals, since the first.
        since := coalesce((
            SELECT e.at FROM public.job_events e
            WHERE e.job_id = job.id AND e.event = 'row_failed' AND job.refusals >= 10
            ORDER BY e.id DESC OFFSET greatest(job.refusals - 1, 0) LIMIT 1), job.updated_at);
        evidence := evidence || jsonb_build_object('refusals', nullif(job.refusals, 0), 'last_error', job.last_error);
    END IF;
END $$;

-- Where a worker runs; `{}` for those who may not know.
CREATE OR REPLACE FUNCTION public.place_of(worker integer, for_operator boolean) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN for_operator THEN coalesce((
        SELECT jsonb_build_object('host', w.hostname, 'process', w.pid) FROM public.workers w WHERE w.id = worker), '{}')
    ELSE '{}' END
$$;

-- What can be seen of the run itself; `backend_pid` is that of the session that has its transaction open.
CREATE OR REPLACE FUNCTION public.facts_of_run(job public.background_jobs, for_operator boolean) RETURNS jsonb
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_object('worker', job.worker_id, 'attempt', job.attempt, 'processed', job.processed,
                              'total', job.total, 'last_batch_at', job.updated_at, 'heartbeat_at', job.heartbeat_at)
        || coalesce((
            SELECT jsonb_build_object('backend_pid', a.pid, 'backend_state', a.state, 'wait_event', a.wait_event,
                                      'query_start', a.query_start)
                || CASE WHEN for_operator THEN jsonb_build_object('query', left(a.query, 200)) ELSE '{}' END
            FROM pg_stat_activity a
            WHERE a.datname = current_database() AND a.state <> 'idle'
              AND has_table_privilege(a.usesysid, 'public.workers', 'UPDATE')  -- otherwise it is not our worker
              AND a.application_name = format('longhaul worker, job %s/%s', job.id, job.attempt)
            ORDER BY a.xact_start LIMIT 1), '{}')
        || public.place_of(job.worker_id, for_operator)
$$;

-- A session that has a transaction open; null where it has none. What it runs may be another tenant's.
CREATE OR REPLACE FUNCTION public.session_facts(session integer, for_operator boolean) RETURNS jsonb
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_object('pid', a.pid, 'seconds', extract(epoch FROM clock_timestamp() - a.xact_start)::integer)
        || CASE WHEN for_operator
                THEN jsonb_build_object('application', a.application_name, 'state', a.state, 'query', left(a.query, 200))
                ELSE '{}' END
    FROM pg_stat_activity a WHERE a.pid = session AND a.xact_start IS NOT NULL
$$;

-- Who keeps this session waiting for a lock; of several, the one whose transaction is the oldest. Null: nobody.
CREATE OR REPLACE FUNCTION public.blocker_of(waiting integer, for_operator boolean) RETURNS jsonb
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(public.session_facts(b.pid, for_operator), jsonb_build_object('pid', b.pid))
    FROM unnest(pg_blocking_pids(waiting)) AS b (pid) LEFT JOIN pg_stat_activity s ON s.pid = b.pid
    ORDER BY s.xact_start NULLS LAST LIMIT 1
$$;

-- What keeps workers with these roles from writing, and what fixes it; null when nothing does. What a database or a role has
-- as its default is looked up, not this session's: a person who looks may be read-only by choice. The session of whoever
-- fixes a default begins with it, so the statement brings its own transaction.
CREATE OR REPLACE FUNCTION public.what_keeps_from_writing(roles oid[]) RETURNS jsonb
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN pg_is_in_recovery() THEN
        jsonb_build_object('because', 'this server is a standby', 'fix', 'point DATABASE_URL at the primary')
    ELSE coalesce((
        SELECT jsonb_build_object('because', 'the database is read-only by default', 'fix', CASE
            WHEN s.setrole = 0 THEN
                format('BEGIN READ WRITE; ALTER DATABASE %I RESET default_transaction_read_only; COMMIT', current_database())
            ELSE format('BEGIN READ WRITE; ALTER ROLE %I%s RESET default_transaction_read_only; COMMIT',
                        pg_get_userbyid(s.setrole),
                        CASE WHEN s.setdatabase <> 0 THEN format(' IN DATABASE %I', current_database()) ELSE '' END) END)
        FROM pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) AS setting
        WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
          AND (s.setrole = 0 OR s.setrole = ANY (roles))
          AND setting ~* '^default_transaction_read_only=(on|true|yes|1)$' LIMIT 1
    ), CASE WHEN current_setting('default_transaction_read_only')::boolean THEN (
        SELECT jsonb_build_object('because', 'the server is read-only by default',
            'fix', 'ALTER SYSTEM RESET default_transaction_read_only; SELECT pg_reload_conf()')
        FROM pg_settings WHERE name = 'default_transaction_read_only' AND source IN ('configuration file', 'command line'))
    END, (
        SELECT jsonb_build_object('because', format('the workers'' role %s may not %s on %s', pg_get_userbyid(role), may, name),
            'fix', format('GRANT %s ON %s TO %I', may, name, pg_get_userbyid(role)))
        FROM unnest(roles) AS role CROSS JOIN (VALUES
            ('INSERT', 'public.job_events'), ('UPDATE', 'public.background_jobs'), ('INSERT', 'dramatiq.queue')
        ) AS needed (may, name)
        WHERE NOT has_table_privilege(role, name, may) LIMIT 1
    )) END
$$;
