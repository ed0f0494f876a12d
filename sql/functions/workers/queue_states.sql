-- The state of each queue: what waits and could start now, what is delayed, what is being processed, and how many workers
-- take from it. Costs a scan of the index of waiting messages; ended ones are not read.
CREATE OR REPLACE FUNCTION public.queue_states() RETURNS TABLE (
    queue text, waiting bigint, delayed bigint, taken bigint, oldest_waiting interval, workers bigint,
    jobs_waiting bigint, jobs_snoozed bigint, jobs_running bigint
) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
    WITH messages AS MATERIALIZED (
        SELECT regexp_replace(q.queue_name, '\.DQ$', '') AS name, q.n, q.queue_name LIKE '%.DQ' AS is_delayed
        FROM (SELECT w.queue_name, count(*) AS n FROM dramatiq.queue w WHERE w.state = 'queued' GROUP BY 1) q
    ), held AS MATERIALIZED (
        SELECT q.queue_name AS name, count(*) AS n FROM dramatiq.queue q WHERE q.state = 'consumed' GROUP BY 1
    ), listening AS MATERIALIZED (
        SELECT l.name, count(*) AS n
        FROM public.worker_silences() s JOIN public.workers w ON w.id = s.worker_id
        CROSS JOIN LATERAL unnest(w.queues) AS l (name)
        WHERE coalesce(s.silent_for < '15 s', true) GROUP BY 1
    ), jobs AS MATERIALIZED (
        SELECT j.queue AS name, count(*) FILTER (WHERE j.status = 'running') AS running,
               count(*) FILTER (WHERE j.status = 'queued' AND j.wait_until > clock_timestamp()) AS snoozed,
               count(*) FILTER (WHERE j.status = 'queued' AND coalesce(j.wait_until <= clock_timestamp(), true)) AS waiting
        FROM public.background_jobs j WHERE j.status IN ('queued', 'running') GROUP BY 1
    ), names AS (
        SELECT name FROM messages UNION SELECT name FROM held UNION SELECT name FROM listening UNION SELECT name FROM jobs
    )
    SELECT n.name, coalesce(sum(m.n) FILTER (WHERE NOT m.is_delayed), 0)::bigint,
           coalesce(sum(m.n) FILTER (WHERE m.is_delayed), 0)::bigint, coalesce(max(h.n), 0),
           clock_timestamp() - (SELECT q.mtime FROM dramatiq.queue q WHERE q.state = 'queued' AND q.queue_name = n.name
                                ORDER BY q.seq LIMIT 1),
           coalesce(max(l.n), 0), coalesce(max(j.waiting), 0), coalesce(max(j.snoozed), 0), coalesce(max(j.running), 0)
    FROM names n LEFT JOIN messages m USING (name) LEFT JOIN held h USING (name) LEFT JOIN listening l USING (name)
         LEFT JOIN jobs j USING (name)
    GROUP BY n.name ORDER BY n.name;
END $$;
