-- Puts delayed messages at the end of their queue, under its own name; wakes its workers.
CREATE OR REPLACE FUNCTION public.release_messages(ids uuid[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    names text[];
    number bigint;
BEGIN
    WITH released AS (
        UPDATE dramatiq.queue q
        SET queue_name = regexp_replace(q.queue_name, '\.DQ$', ''), seq = DEFAULT, mtime = now(),
            message = jsonb_set(q.message #- '{options,eta}', '{queue_name}',
                                to_jsonb(regexp_replace(q.queue_name, '\.DQ$', '')))
        WHERE q.message_id = ANY (ids)
        RETURNING q.queue_name
    )
    SELECT array_agg(DISTINCT queue_name), count(*) INTO names, number FROM released;
    IF number > 0 THEN
        PERFORM public.wake_workers(names);
    END IF;
    RETURN number;
END $$;

-- Puts due delayed messages at the end of their queue; returns how many. Dramatiq keeps them under the queue's name plus
-- ".DQ", with the time in ms as the option `eta`. An eta that will never come (NaN, or far beyond the year 9999) is
-- rejected. A message that cannot be moved is named in a warning and delays no other.
CREATE OR REPLACE FUNCTION public.enqueue_due_messages() RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    due uuid[];
    id uuid;
    number bigint := 0;
BEGIN
    UPDATE dramatiq.queue q SET state = 'rejected', reason = format('option eta: found %s, expected a time in ms', q.eta)
    WHERE q.state = 'queued' AND q.eta > 1e15;

    due := ARRAY(
        SELECT q.message_id FROM dramatiq.queue q
        WHERE q.state = 'queued' AND q.eta IS NOT NULL AND q.eta <= extract(epoch FROM clock_timestamp()) * 1000
        ORDER BY q.eta LIMIT 1000 FOR UPDATE SKIP LOCKED);
    BEGIN
        RETURN public.release_messages(due);
    EXCEPTION WHEN OTHERS THEN
        FOREACH id IN ARRAY due LOOP
            BEGIN
                number := number + public.release_messages(ARRAY[id]);
            EXCEPTION WHEN OTHERS THEN
                RAISE WARNING 'message %, which is due, cannot be enqueued: %', id, SQLERRM;
            END;
        END LOOP;
        RETURN number;
    END;
END $$;
