-- Wakes the workers that listen to these queues, at the caller's commit. The payload is for dramatiq-pg's own
-- consumers, which need one; ours only wake. PL/pgSQL keeps the plan: half the cost of LANGUAGE sql.
-- If a queue's name is too long for a channel, nobody can be woken; polling still finds its messages.
CREATE OR REPLACE FUNCTION public.wake_workers(queues text[], message_id uuid DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('dramatiq.' || name || '.enqueue', jsonb_build_object('message_id', message_id)::text)
    FROM (SELECT DISTINCT unnest(queues) AS name) AS q
    WHERE octet_length('dramatiq.' || name || '.enqueue') < 64;
END $$;
