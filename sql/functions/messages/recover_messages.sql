-- Puts back messages that a worker lost. The third loss in a row rejects a message: it seems to kill its workers. To rule
-- out chance, the last try comes 30 s after the second loss, delayed as in Dramatiq: if workers are killed each second, a
-- harmless message would sooner or later be in flight three times. A loss caused by a restart of Postgres does not count.
CREATE OR REPLACE FUNCTION public.put_back_messages(ids uuid[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    names text[];
    number bigint;
BEGIN
    WITH lost AS MATERIALIZED (
        SELECT q.message_id, q.worker_id, q.losses + (pg_postmaster_start_time() < q.mtime)::integer AS losses,
               CASE WHEN q.losses = 1 AND pg_postmaster_start_time() < q.mtime
                         AND jsonb_typeof(q.message -> 'options') = 'object'
                    THEN floor(extract(epoch FROM now() + interval '30 s') * 1000) END AS eta
        FROM dramatiq.queue q WHERE q.message_id = ANY (ids)
    ), given AS (
        UPDATE dramatiq.queue q
        SET queue_name = q.queue_name || CASE WHEN lost.eta IS NULL THEN '' ELSE '.DQ' END,
            message = CASE WHEN lost.eta IS NULL THEN q.message
                           ELSE jsonb_set(q.message, '{options,eta}', to_jsonb(lost.eta)) END,
            state = CASE WHEN lost.losses < 3 THEN 'queued' ELSE 'rejected' END::dramatiq.state,
            reason = CASE WHEN lost.losses >= 3 THEN format('worker %s died, the third in a row', lost.worker_id) END,
            losses = lost.losses, worker_id = NULL, mtime = now()
        FROM lost WHERE q.message_id = lost.message_id
        RETURNING q.queue_name
    )
    SELECT array_agg(DISTINCT queue_name), count(*) INTO names, number FROM given;
    IF number > 0 THEN
        PERFORM public.wake_workers(names);
    END IF;
    RETURN number;
END $$;

-- Puts messages that dead workers hold back into their queues; returns how many. As in recover_jobs(), dead workers are
-- collected first and only their messages are touched. Messages taken by a stock consumer have no worker_id and are left
-- alone. A message that cannot be moved is named in a warning and delays no other.
CREATE OR REPLACE FUNCTION public.recover_messages() RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    dead integer[];
    lost uuid[];
    id uuid;
    number bigint := 0;
BEGIN
    dead := ARRAY(
        SELECT DISTINCT q.worker_id FROM dramatiq.queue q WHERE q.state = 'consumed' AND q.worker_id IS NOT NULL
        EXCEPT SELECT public.live_workers());
    IF dead = '{}' THEN
        RETURN 0;
    END IF;
    PERFORM public.end_sessions(dead);

    lost := ARRAY(
        SELECT q.message_id FROM dramatiq.queue q
        WHERE q.state = 'consumed' AND q.worker_id = ANY (dead) FOR UPDATE SKIP LOCKED);
    BEGIN
        RETURN public.put_back_messages(lost);
    EXCEPTION WHEN OTHERS THEN
        FOREACH id IN ARRAY lost LOOP
            BEGIN
                number := number + public.put_back_messages(ARRAY[id]);
            EXCEPTION WHEN OTHERS THEN
                RAISE WARNING 'message %, whose worker is dead, cannot be put back: %', id, SQLERRM;
            END;
        END LOOP;
        RETURN number;
    END;
END $$;
