-- Of the release before; today ack_messages(). Ends deliveries: each message gets its new state ('done', 'rejected', or 'queued' to give it back), if this worker
-- still holds this delivery of it; else somebody else has it by now, and nothing changes. Null keeps the message.
-- Rows are found by primary key and locked in its order first: the planner may not take the index on state for it,
-- which gets slow while an old snapshot is open, and two workers cannot lock each other out.
CREATE OR REPLACE FUNCTION public.settle_messages(
    worker integer, ids uuid[], deliveries integer[], states text[], messages jsonb[]
) RETURNS SETOF uuid LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
    WITH held AS MATERIALIZED (
        SELECT q.message_id, q.state, q.worker_id, q.delivery FROM dramatiq.queue q
        WHERE q.message_id = ANY (ids) ORDER BY q.message_id FOR UPDATE
    )
    UPDATE dramatiq.queue q
    SET state = ended.state::dramatiq.state, message = coalesce(ended.message, q.message), mtime = now(),
        worker_id = CASE WHEN ended.state <> 'queued' THEN q.worker_id END
    FROM held JOIN unnest(ids, deliveries, states, messages) AS ended (message_id, delivery, state, message)
        ON ended.message_id = held.message_id
    WHERE q.message_id = held.message_id AND held.state = 'consumed' AND held.worker_id = worker
      AND held.delivery = ended.delivery
    RETURNING q.message_id;
END $$;
