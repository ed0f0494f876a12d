"""A claim's statements (claim.py). All but the claim itself change only a job that this attempt still holds."""

from sqlalchemy import text

CLAIM = text("""
    SELECT * FROM public.claim_job(CAST(:job_id AS bigint), CAST(:worker_id AS integer), CAST(:batch_size AS integer),
                                   pg_catalog.make_interval(secs => :stale_after),
                                   pg_catalog.make_interval(secs => :unchanged_after),
                                   CAST(:types AS text[]), CAST(:most AS integer))
""")

LOCK = text("SELECT FROM background_jobs WHERE id = :job_id FOR UPDATE")

RELEASE = text("""
    SELECT public.leave_running(id, attempt, 'queued', 'requeued', 'worker:' || CAST(worker_id AS text),
                                'the response to the claim was lost')
    FROM background_jobs WHERE id = :job_id AND status = 'running' AND worker_id = :worker_id
""")

# All of these apply only while the claim is held: attempt is the number of the claim.
READ = text("""
    SELECT * FROM background_jobs WHERE id = :job_id AND attempt = :attempt AND status = 'running' FOR UPDATE
""")

CHECKPOINT = """
    SELECT * FROM public.checkpoint_job(
        CAST(%(job_id)s AS bigint), CAST(%(attempt)s AS integer), CAST(%(cursor)s AS jsonb),
        CAST(%(succeeded)s AS bigint), CAST(%(failed)s AS bigint), CAST(%(stats)s AS jsonb), CAST(%(error)s AS text))
"""

BEAT = text("""
    UPDATE background_jobs
    SET heartbeat_at = clock_timestamp(), waiting_for = coalesce(CAST(:reason AS text), waiting_for),
        updated_at = CASE WHEN CAST(:reason AS text) IS NULL THEN updated_at ELSE clock_timestamp() END,
        waits_since = CASE WHEN CAST(:reason AS text) IS NULL THEN waits_since
                           ELSE coalesce(waits_since, clock_timestamp()) END
    WHERE id = :job_id AND attempt = :attempt AND status = 'running'
    RETURNING requested
""")

SET_TOTAL = text("""
    UPDATE background_jobs SET total = succeeded + :total
    WHERE id = :job_id AND attempt = :attempt AND status = 'running'
    RETURNING total
""")

SET_LEFT = text("""
    UPDATE background_jobs SET total = processed + :left
    WHERE id = :job_id AND attempt = :attempt AND status = 'running'
    RETURNING total
""")

ROW_FAILED = text("""
    SELECT public.log_job_event(job, 'row_failed', job.status, 'worker:' || CAST(job.worker_id AS text),
                                CAST(:error AS text), CAST(NULL AS integer),
                                pg_catalog.jsonb_build_object('id', CAST(:row_id AS jsonb)))
    FROM background_jobs job
    WHERE id = :job_id
      AND (SELECT count(*) FROM job_events WHERE job_id = :job_id AND event = 'row_failed') < :most
""")

LEAVE = text("""
    SELECT * FROM public.leave_running(CAST(:job_id AS bigint), CAST(:attempt AS integer), CAST(:target AS text),
                                       CAST(:event AS text), CAST(:who AS text), CAST(:why AS text),
                                       pg_catalog.make_interval(secs => :wait), CAST(:code AS text),
                                       CAST(:failures AS integer))
""")

LAST_EVENT = text("SELECT to_status, actor, reason FROM job_events WHERE job_id = :job_id ORDER BY id DESC LIMIT 1")
