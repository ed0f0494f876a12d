-- Delayed messages whose time has come join their queue, at its end; returns how many. Dramatiq keeps them under the
-- queue's name and ".DQ", with the time in ms as the option `eta`.
CREATE OR REPLACE FUNCTION public.release_due_messages() RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    names text[];
    number bigint;
BEGIN
    WITH due AS MATERIALIZED (
        SELECT q.message_id, regexp_replace(q.queue_name, '\.DQ$', '') AS name FROM dramatiq.queue q
        WHERE q.state = 'queued' AND q.eta IS NOT NULL AND q.eta <= extract(epoch FROM clock_timestamp()) * 1000
        ORDER BY q.eta LIMIT 1000 FOR UPDATE SKIP LOCKED
    ), released AS (
        UPDATE dramatiq.queue q
        SET queue_name = due.name, seq = DEFAULT, mtime = now(),
            message = jsonb_set(q.message #- '{options,eta}', '{queue_name}', to_jsonb(due.name))
        FROM due WHERE q.message_id = due.message_id
        RETURNING q.queue_name
    )
    SELECT array_agg(DISTINCT queue_name), count(*) INTO names, number FROM released;
    IF number > 0 THEN
        PERFORM public.wake_workers(names);
    END IF;
    RETURN number;
END $$;
