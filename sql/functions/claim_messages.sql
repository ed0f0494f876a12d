-- A worker takes up to `most` waiting messages from several queues, oldest first within each, turn by turn between
-- them: a busy queue does not starve the others. Of queue number i at most limits[i], with a seq above afters[i].
CREATE OR REPLACE FUNCTION public.claim_messages(
    worker integer, queues text[], limits integer[], afters bigint[], most integer
) RETURNS TABLE (message_id uuid, seq bigint, delivery integer, queue_name text, message text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH waiting AS MATERIALIZED (
        SELECT found.message_id, wanted.turn, found.seq
        FROM unnest(queues, limits, afters) WITH ORDINALITY AS wanted (name, number, after, turn)
        CROSS JOIN LATERAL (
            SELECT q.message_id, q.seq FROM dramatiq.queue q
            WHERE q.state = 'queued' AND q.queue_name = wanted.name AND q.seq > wanted.after AND q.eta IS NULL
            ORDER BY q.seq LIMIT wanted.number FOR UPDATE SKIP LOCKED) found
    ), ranked AS (
        SELECT w.message_id, w.turn, row_number() OVER (PARTITION BY w.turn ORDER BY w.seq) AS rank FROM waiting w
    )
    UPDATE dramatiq.queue q
    SET state = 'consumed', worker_id = worker, delivery = q.delivery + 1, mtime = now()
    WHERE q.message_id = ANY (ARRAY(SELECT r.message_id FROM ranked r ORDER BY r.rank, r.turn LIMIT claim_messages.most))
    RETURNING q.message_id, q.seq, q.delivery, q.queue_name, q.message::text;
END $$;
