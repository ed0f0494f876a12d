-- Jobs as a status call shows them: the row, what of it is relative to now, whether it can be what it says, and `why` in short.
-- In one statement whose plan the session keeps, because planning it anew would take longer than running it.
--
-- A job whose worker is seen to live and whose last batch is less than 2 s old is moving; only the others are asked why not.
CREATE OR REPLACE FUNCTION public.look_at_jobs(
    wanted bigint[], heartbeat_seconds double precision, update_seconds double precision, most_ahead integer
) RETURNS TABLE (
    job public.background_jobs, is_unknown boolean, rate double precision, eta_seconds bigint,
    seconds_since_heartbeat bigint, is_stale boolean, is_in_doubt boolean, reason text, sentence text
) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    IF wanted = '{}' THEN
        RETURN;  -- what follows looks at all sessions first
    END IF;
    RETURN QUERY
    WITH live AS MATERIALIZED (
        SELECT s.worker_id, s.silent_for, w.kinds
        FROM public.worker_sessions() s JOIN public.workers w ON w.id = s.worker_id
        WHERE coalesce(s.silent_for < '15 s', true)
    ), looked AS MATERIALIZED (
        SELECT j, j.status = 'running' AS runs,
               clock_timestamp() - c.seen_at BETWEEN '0 s' AND '5 s' AND own.worker_id IS NOT NULL AS is_sure,
               j.requested IS NULL AND j.waiting_for IS NULL AND j.refusals = 0
                   AND clock_timestamp() - j.updated_at BETWEEN '0 s' AND '2 s'
                   AND coalesce(own.silent_for < '5 s', true)
                   AND NOT EXISTS (SELECT FROM public.attachment_counts a WHERE a.job_id = j.id AND a.failed > 0) AS moves
        FROM public.background_jobs j
        -- Only for a job that runs: of a queued one, why_jobs() looks at the sessions.
        LEFT JOIN LATERAL (
            SELECT l.worker_id, l.silent_for FROM live l WHERE j.status = 'running' AND l.worker_id = j.worker_id OFFSET 0
        ) own ON true LEFT JOIN public.watched_clock c ON true
        WHERE j.id = ANY (wanted)
    ), told AS (
        SELECT * FROM public.why_jobs(
            ARRAY(SELECT (l.j).id FROM looked l WHERE (l.runs AND l.is_sure AND l.moves) IS NOT TRUE), false, most_ahead)
    )
    SELECT l.j,
           (l.j).status = 'queued' AND (l.j).resends > 1 AND EXISTS (SELECT FROM live) AND NOT EXISTS (
               SELECT FROM live WHERE live.kinds IS NULL OR (l.j).job_type = ANY (live.kinds)),
           CASE WHEN l.runs THEN public.rate_of(l.j) END,
           CASE WHEN l.runs THEN public.eta_of(l.j) END,
           extract(epoch FROM clock_timestamp() - (l.j).heartbeat_at)::bigint,
           l.runs AND (
               public.silence((l.j).heartbeat_at)
                   > coalesce((l.j).stale_after, make_interval(secs => heartbeat_seconds))
               OR public.silence((l.j).updated_at)
                   > coalesce((l.j).unchanged_after, make_interval(secs => update_seconds))),
           l.runs AND l.is_sure IS NOT TRUE,
           coalesce(told.reason, 'running'),
           coalesce(told.sentence, public.why_sentence(l.j, 'running', '{}'::jsonb))
    FROM looked l LEFT JOIN told ON told.job_id = (l.j).id
    ORDER BY (l.j).id DESC;
END $$;
