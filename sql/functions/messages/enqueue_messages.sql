-- Puts messages into their queues and wakes the workers at the caller's commit.
-- If a message is sent again under its own id (a retry), it replaces the delivery that sends it, worker_id's, but not a
-- later one: a worker that was declared dead must not take back what another is processing.
-- Any other copy of a message that is being processed is refused, with all that are sent with it: LH409.
CREATE OR REPLACE FUNCTION public.enqueue_messages(
    message_ids uuid[], queue_names text[], messages jsonb[], worker_id integer DEFAULT NULL, delivery integer DEFAULT NULL
) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    number bigint;
BEGIN
    INSERT INTO dramatiq.queue AS q (message_id, queue_name, state, mtime, message)
    SELECT m.id, m.queue, 'queued', now(), m.message
    FROM unnest(message_ids, queue_names, messages) WITH ORDINALITY AS m (id, queue, message, place)
    ORDER BY m.place
    ON CONFLICT (message_id) DO UPDATE
        SET state = 'queued', queue_name = EXCLUDED.queue_name, message = EXCLUDED.message, mtime = now(), seq = DEFAULT,
            losses = 0, reason = NULL
        WHERE (enqueue_messages.worker_id IS NULL AND q.state <> 'consumed')
           OR (q.state = 'consumed' AND q.worker_id = enqueue_messages.worker_id
               AND q.delivery = enqueue_messages.delivery);
    GET DIAGNOSTICS number = ROW_COUNT;
    IF number < cardinality(message_ids) AND enqueue_messages.worker_id IS NULL THEN
        RAISE EXCEPTION 'a message with this id is being processed: send a copy of it under an id of its own'
            USING ERRCODE = 'LH409';
    END IF;

    PERFORM public.wake_workers(queue_names, message_ids[1]);
END $$;
