-- Functions that the previous release calls by their former names: it keeps running while this one is deployed.
-- The release after the next removes them, each with a migration that drops it.

-- Now enqueue_due_messages().
CREATE OR REPLACE FUNCTION public.release_due_messages() RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN public.enqueue_due_messages();
END $$;

-- Now resend_lost_messages().
CREATE OR REPLACE FUNCTION public.wake_queued_jobs() RETURNS SETOF public.background_jobs
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT * FROM public.resend_lost_messages();
END $$;

-- Now ack_messages(). Each message gets its new state ('done', 'rejected', or 'queued' to requeue it) if this worker
-- still holds this delivery of it; a null message keeps the stored one. Returns the ids of those that it changed.
-- Rows are locked in primary key order, so that two workers cannot deadlock.
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
