-- Running jobs without a heartbeat for `heartbeat_seconds`, or unchanged for `update_seconds`, fail, resumable.
-- Call recover_jobs first: what it takes back is not stale, it only waits.
CREATE OR REPLACE FUNCTION fail_stale_jobs(
    type text, heartbeat_seconds integer, update_seconds integer, only_business bigint DEFAULT NULL
) RETURNS SETOF background_jobs LANGUAGE plpgsql AS $$
DECLARE
    job background_jobs;
    heartbeat_age integer;
    update_age integer;
BEGIN
    FOR job IN
        SELECT * FROM background_jobs j
        WHERE j.status = 'running' AND j.job_type = type AND (only_business IS NULL OR j.business_id = only_business)
          AND (j.heartbeat_at < clock_timestamp() - make_interval(secs => heartbeat_seconds)
               OR j.updated_at < clock_timestamp() - make_interval(secs => update_seconds))
        ORDER BY j.id FOR UPDATE SKIP LOCKED
    LOOP
        heartbeat_age := extract(epoch FROM clock_timestamp() - job.heartbeat_at);
        update_age := extract(epoch FROM clock_timestamp() - job.updated_at);
        RETURN QUERY SELECT * FROM leave_running(job.id, job.attempt, 'failed', 'stale', 'sweep',
            'Server restarted / job heartbeat lost: ' || CASE
                WHEN heartbeat_age > heartbeat_seconds THEN format('no heartbeat for %s s', heartbeat_age)
                ELSE format('no update for %s s', update_age)
            END);
    END LOOP;
END $$;
