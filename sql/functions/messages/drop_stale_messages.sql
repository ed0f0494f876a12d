-- Drops messages that can no longer start their job (it has ended, is paused, or has a newer message), which would waste a
-- thread's time. Checks up to `most` of the oldest waiting ones in the queues of jobs; returns how many it dropped.
-- `actors` are the kinds of jobs: messages of other actors are left alone.
CREATE OR REPLACE FUNCTION public.drop_stale_messages(queues text[], actors text[], most integer) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    WITH oldest AS MATERIALIZED (
        SELECT q.message_id, q.message FROM dramatiq.queue q
        WHERE q.state = 'queued' AND q.queue_name = ANY (queues) AND q.eta IS NULL
        ORDER BY q.seq LIMIT most FOR UPDATE SKIP LOCKED
    ), named AS (
        SELECT o.message_id,
               CASE WHEN jsonb_typeof(o.message #> '{args,0}') = 'number' AND o.message #>> '{args,0}' ~ '^[0-9]{1,18}$'
                    THEN (o.message #>> '{args,0}')::bigint END AS job_id
        FROM oldest o WHERE o.message ->> 'actor_name' = ANY (actors)
    ), gone AS (
        DELETE FROM dramatiq.queue q USING named n
        WHERE q.message_id = n.message_id AND n.job_id IS NOT NULL AND NOT EXISTS (
            SELECT FROM public.background_jobs j
            WHERE j.id = n.job_id AND j.status = 'queued' AND j.message_id = n.message_id)
        RETURNING 1
    )
    SELECT count(*) FROM gone
$$;
