-- Messages that dead workers hold go back to their queues; returns how many. As in recover_jobs(), the dead are
-- collected first and only what they hold is touched. What a stock consumer took has no worker_id and is left alone.
CREATE OR REPLACE FUNCTION public.recover_messages() RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    dead integer[];
    names text[];
    number bigint;
BEGIN
    dead := ARRAY(
        SELECT DISTINCT q.worker_id FROM dramatiq.queue q WHERE q.state = 'consumed' AND q.worker_id IS NOT NULL
        EXCEPT SELECT public.live_workers());
    IF dead = '{}' THEN
        RETURN 0;
    END IF;
    PERFORM public.end_sessions(dead);

    WITH lost AS MATERIALIZED (
        SELECT q.message_id FROM dramatiq.queue q
        WHERE q.state = 'consumed' AND q.worker_id = ANY (dead) FOR UPDATE SKIP LOCKED
    ), given AS (
        UPDATE dramatiq.queue q SET state = 'queued', worker_id = NULL, mtime = now()
        WHERE q.message_id IN (SELECT l.message_id FROM lost l)
        RETURNING q.queue_name
    )
    SELECT array_agg(DISTINCT queue_name), count(*) INTO names, number FROM given;
    IF number > 0 THEN
        PERFORM public.wake_workers(names);
    END IF;
    RETURN number;
END $$;
