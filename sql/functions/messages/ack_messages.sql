-- Acks deliveries: each message gets its new state ('done', 'rejected', or 'queued' to requeue it), if this worker still
-- holds this delivery of it; if another worker has it, nothing changes. A null message keeps the stored one. 'queued' with a
-- message sends that one instead (a retry). Returns the ids of locked rows, to be retried: they delay no others.
-- Rows are found by primary key first, so that the planner does not use the index on state, which is slow under an old
-- snapshot.
CREATE OR REPLACE FUNCTION public.ack_messages(
    worker integer, ids uuid[], deliveries integer[], states text[], messages jsonb[], reasons text[]
) RETURNS SETOF uuid LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    seen uuid[];
    number bigint;
BEGIN
    IF 'done' = ALL (states) THEN  -- by far the most common: a cheaper plan
        WITH held AS MATERIALIZED (
            SELECT q.message_id FROM dramatiq.queue q
            WHERE q.message_id = ANY (ids) AND q.state = 'consumed' AND q.worker_id = worker
              AND q.delivery = deliveries[array_position(ids, q.message_id)]
            FOR UPDATE SKIP LOCKED
        )
        UPDATE dramatiq.queue q SET state = 'done', reason = NULL, mtime = now() FROM held
        WHERE q.message_id = held.message_id;
        GET DIAGNOSTICS number = ROW_COUNT;
        IF number = cardinality(ids) THEN
            RETURN;
        END IF;
    END IF;
    WITH held AS MATERIALIZED (
        SELECT q.message_id, q.state, q.worker_id, q.delivery FROM dramatiq.queue q
        WHERE q.message_id = ANY (ids) FOR UPDATE SKIP LOCKED
    ), changed AS (
        UPDATE dramatiq.queue q
        SET state = ended.state::dramatiq.state, message = coalesce(ended.message, q.message), mtime = now(),
            reason = ended.reason, worker_id = CASE WHEN ended.state <> 'queued' THEN q.worker_id END,
            queue_name = CASE WHEN resent THEN ended.message ->> 'queue_name' ELSE q.queue_name END,
            seq = CASE WHEN resent THEN nextval(pg_get_serial_sequence('dramatiq.queue', 'seq')) ELSE q.seq END,
            losses = CASE WHEN resent THEN 0 ELSE q.losses END
        FROM held JOIN unnest(ids, deliveries, states, messages, reasons)
                AS ended (message_id, delivery, state, message, reason) ON ended.message_id = held.message_id
            CROSS JOIN LATERAL (SELECT ended.state = 'queued' AND ended.message IS NOT NULL AS resent) AS kind
        WHERE q.message_id = held.message_id AND held.state = 'consumed' AND held.worker_id = worker
          AND held.delivery = ended.delivery
    )
    SELECT array_agg(h.message_id) INTO seen FROM held h;
    IF cardinality(seen) = cardinality(ids) THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT q.message_id FROM dramatiq.queue q JOIN unnest(ids, deliveries) AS ended (id, delivery) ON ended.id = q.message_id
    WHERE q.message_id <> ALL (coalesce(seen, '{}')) AND q.state = 'consumed' AND q.worker_id = worker
      AND q.delivery = ended.delivery;
END $$;
