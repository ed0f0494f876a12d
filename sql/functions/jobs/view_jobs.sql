-- Jobs as a status call shows them, newest first: those of `ids` that are there, each only if it belongs to the business
-- beside it in `businesses` (null: to any).
--
-- Nearly all polls are about a job that is moving: its row shows a batch of the last 2 s, and the lock that we can't get
-- shows that its worker lives. Only the others are asked of look_at_jobs(), which reads the state of all sessions first.
--
-- What is shown of a moving job has a version, which ends with its next batch or with what becomes of one of its files. Of
-- a job that still has the one in `versions` nothing else is told. `place` is the job's in `ids`. The version is made of the
-- rows' transactions, whose numbers are nobody's business: the message's id, which no client knows, hides them.
CREATE OR REPLACE FUNCTION public.view_jobs(
    ids bigint[], businesses bigint[], versions text[], heartbeat_seconds double precision,
    update_seconds double precision, most_ahead integer
) RETURNS TABLE (
    id bigint, business_id bigint, job_type text, key text, status text, requested text, attempt integer,
    requested_by_user_id bigint, stats jsonb, total bigint, processed bigint, succeeded bigint, failed_count bigint,
    last_error text, error_code text, waiting_for text, wait_until timestamptz, created_at timestamptz,
    started_at timestamptz, updated_at timestamptz, finished_at timestamptz, heartbeat_at timestamptz,
    is_unknown boolean, rate double precision, eta_seconds bigint, seconds_since_heartbeat bigint, is_stale boolean,
    is_in_doubt boolean, reason text, sentence text, place bigint, version text, is_unchanged boolean
) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    unchanged bigint[] := '{}';  -- their places in `ids`
BEGIN
    IF array_remove(versions, NULL) <> '{}' THEN
        unchanged := ARRAY(  -- as it was when it got that version, it was moving; is it still?
            SELECT asked.n
            FROM unnest(ids, businesses, versions) WITH ORDINALITY AS asked (id, business_id, version, n)
            JOIN public.background_jobs j ON j.id = asked.id AND coalesce(asked.business_id = j.business_id, true)
            CROSS JOIN public.watched_clock c LEFT JOIN public.attachment_counts a ON a.job_id = j.id
            WHERE asked.version = to_hex(hashtextextended(concat_ws('-', j.message_id, j.xmin, a.xmin), 0))
              AND clock_timestamp() - j.updated_at BETWEEN '0 s' AND '2 s'
              AND clock_timestamp() - j.heartbeat_at BETWEEN '0 s' AND '2 s'
              AND clock_timestamp() - c.seen_at BETWEEN '0 s' AND '5 s'
              AND NOT pg_try_advisory_xact_lock_shared(public.worker_lock_space(), j.worker_id)
            ORDER BY asked.n);
        FOREACH place IN ARRAY unchanged LOOP
            version := versions[place];
            is_unchanged := true;
            RETURN NEXT;
        END LOOP;
    END IF;
    IF cardinality(unchanged) = cardinality(ids) THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH looked AS MATERIALIZED (
        SELECT j, asked.n AS place, to_hex(hashtextextended(concat_ws('-', j.message_id, j.xmin, a.xmin), 0)) AS version, CASE
            WHEN j.status = 'running' AND j.requested IS NULL AND j.waiting_for IS NULL AND j.refusals = 0
                AND clock_timestamp() - j.updated_at BETWEEN '0 s' AND '2 s'
                AND clock_timestamp() - j.heartbeat_at BETWEEN '0 s' AND '2 s'
                AND clock_timestamp() - c.seen_at BETWEEN '0 s' AND '5 s'
                AND coalesce(a.failed = 0, true)
            THEN NOT pg_try_advisory_xact_lock_shared(public.worker_lock_space(), j.worker_id) END AS moves
        FROM unnest(ids, businesses) WITH ORDINALITY AS asked (id, business_id, n)
        JOIN public.background_jobs j ON j.id = asked.id AND coalesce(asked.business_id = j.business_id, true)
        LEFT JOIN public.watched_clock c ON true LEFT JOIN public.attachment_counts a ON a.job_id = j.id
        WHERE asked.n <> ALL (unchanged)
    ), others AS (
        SELECT * FROM public.look_at_jobs(
            ARRAY(SELECT (l.j).id FROM looked l WHERE l.moves IS NOT TRUE), heartbeat_seconds, update_seconds, most_ahead)
    )
    SELECT (s.j).id, (s.j).business_id, (s.j).job_type, (s.j).key, (s.j).status, (s.j).requested, (s.j).attempt,
           (s.j).requested_by_user_id, (s.j).stats, (s.j).total, (s.j).processed, (s.j).succeeded, (s.j).failed_count,
           (s.j).last_error, (s.j).error_code, (s.j).waiting_for, (s.j).wait_until, (s.j).created_at,
           (s.j).started_at, (s.j).updated_at, (s.j).finished_at, (s.j).heartbeat_at,
           coalesce(s.is_unknown, false),
           CASE WHEN s.moves THEN public.rate_of(s.j) ELSE s.rate END,
           CASE WHEN s.moves THEN public.eta_of(s.j) ELSE s.eta_seconds END,
           extract(epoch FROM clock_timestamp() - (s.j).heartbeat_at)::bigint,
           coalesce(s.is_stale, false), coalesce(s.is_in_doubt, false),
           coalesce(s.reason, 'running'), coalesce(s.sentence, public.why_sentence(s.j, 'running', '{}'::jsonb)), s.place,
           CASE WHEN s.moves THEN s.version END, false
    FROM (
        SELECT CASE WHEN l.moves THEN l.j ELSE o.job END AS j, l.moves, l.place, l.version,
               o.is_unknown, o.rate, o.eta_seconds, o.is_stale, o.is_in_doubt, o.reason, o.sentence
        FROM looked l LEFT JOIN others o ON (o.job).id = (l.j).id
        WHERE l.moves OR (o.job).id IS NOT NULL
    ) AS s
    ORDER BY (s.j).id DESC;
END $$;
