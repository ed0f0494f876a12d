-- A worker claims up to `most` waiting messages from several queues, oldest first within each, round robin between them:
-- a busy queue does not starve the others. From queue number i at most limits[i], with a seq above afters[i].
-- A message that was lost with a worker may have killed it. At most `lost` of these are claimed, in addition to `most`: a
-- worker never has two of them, so none is lost a second time because of another. Null: they are claimed like all others.
CREATE OR REPLACE FUNCTION public.claim_messages(
    worker integer, queues text[], limits integer[], afters bigint[], most integer, lost integer DEFAULT NULL
) RETURNS TABLE (message_id uuid, seq bigint, delivery integer, queue_name text, message text, losses integer)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    alone uuid[] := '{}';
BEGIN
    IF claim_messages.lost > 0 THEN
        -- Found by their own index: without statistics, the planner would scan all waiting messages.
        alone := ARRAY(
            SELECT l.message_id
            FROM (SELECT f.message_id, f.queue_name, f.seq, f.eta FROM dramatiq.queue f
                  WHERE f.state = 'queued' AND f.losses > 0 ORDER BY f.seq LIMIT 1000) l
            WHERE l.queue_name = ANY (queues) AND l.eta IS NULL ORDER BY l.seq LIMIT 100);
        IF alone <> '{}' THEN
            alone := ARRAY(
                SELECT q.message_id FROM dramatiq.queue q WHERE q.message_id = ANY (alone) AND q.state = 'queued'
                ORDER BY q.seq LIMIT claim_messages.lost FOR UPDATE SKIP LOCKED);
        END IF;
    END IF;
    RETURN QUERY
    WITH waiting AS MATERIALIZED (
        SELECT found.message_id, wanted.turn, found.seq
        FROM unnest(queues, limits, afters) WITH ORDINALITY AS wanted (name, number, after, turn)
        CROSS JOIN LATERAL (
            SELECT q.message_id, q.seq FROM dramatiq.queue q
            WHERE q.state = 'queued' AND q.queue_name = wanted.name AND q.seq > wanted.after AND q.eta IS NULL
              AND (claim_messages.lost IS NULL OR q.losses = 0)
            ORDER BY q.seq LIMIT wanted.number FOR UPDATE SKIP LOCKED) found
    ), ranked AS (
        SELECT w.message_id, w.turn, row_number() OVER (PARTITION BY w.turn ORDER BY w.seq) AS rank FROM waiting w
    )
    UPDATE dramatiq.queue q
    SET state = 'consumed', worker_id = worker, delivery = q.delivery + 1, mtime = now()
    WHERE q.message_id = ANY (
        ARRAY(SELECT r.message_id FROM ranked r ORDER BY r.rank, r.turn LIMIT claim_messages.most) || alone)
    RETURNING q.message_id, q.seq, q.delivery, q.queue_name, q.message::text, q.losses;
END $$;
