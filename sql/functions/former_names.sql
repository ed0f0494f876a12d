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

-- Now view_jobs().
CREATE OR REPLACE FUNCTION public.show_jobs(
    ids bigint[], businesses bigint[], heartbeat_seconds double precision, update_seconds double precision, most_ahead integer
) RETURNS TABLE (
    id bigint, business_id bigint, job_type text, key text, status text, requested text, attempt integer,
    requested_by_user_id bigint, stats jsonb, total bigint, processed bigint, succeeded bigint, failed_count bigint,
    last_error text, error_code text, waiting_for text, wait_until timestamptz, created_at timestamptz,
    started_at timestamptz, updated_at timestamptz, finished_at timestamptz, heartbeat_at timestamptz,
    is_unknown boolean, rate double precision, eta_seconds bigint, seconds_since_heartbeat bigint, is_stale boolean,
    is_in_doubt boolean, reason text, sentence text, asked_business_id bigint
) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT v.id, v.business_id, v.job_type, v.key, v.status, v.requested, v.attempt,
           v.requested_by_user_id, v.stats, v.total, v.processed, v.succeeded, v.failed_count,
           v.last_error, v.error_code, v.waiting_for, v.wait_until, v.created_at,
           v.started_at, v.updated_at, v.finished_at, v.heartbeat_at,
           v.is_unknown, v.rate, v.eta_seconds, v.seconds_since_heartbeat, v.is_stale,
           v.is_in_doubt, v.reason, v.sentence, businesses[v.place]
    FROM public.view_jobs(ids, businesses, NULL, heartbeat_seconds, update_seconds, most_ahead) v;
END $$;
