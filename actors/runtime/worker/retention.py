"""Deletes old rows: finished messages and jobs, former workers, old keys, ended sessions, mails of past connections."""

import structlog
from sqlalchemy import Connection, Engine, text

from actors.runtime.base.apart import write_apart
from actors.runtime.base.config import Settings
from sql.locks import RETENTION, holding

log = structlog.get_logger("longhaul.retention")

CHUNK = 1000  # rows per statement: no long lock, no long transaction

OLD = {
    "messages": """
        SELECT message_id FROM dramatiq.queue
        WHERE state IN ('done', 'rejected') AND mtime < now() - pg_catalog.make_interval(days => :message_days)
          AND message_id <> ALL (CAST(:left AS uuid[])) LIMIT :chunk
    """,
    "jobs": """
        SELECT id FROM background_jobs
        WHERE created_at < now() - pg_catalog.make_interval(days => :job_days)
          AND finished_at < now() - pg_catalog.make_interval(days => :job_days)
          AND id <> ALL (CAST(:left AS bigint[])) LIMIT :chunk
    """,
    "workers": """
        SELECT id FROM workers w
        WHERE started_at < now() - pg_catalog.make_interval(days => :job_days)
          AND NOT EXISTS (SELECT FROM public.live_workers() AS live (id) WHERE live.id = w.id)
          AND id <> ALL (CAST(:left AS bigint[])) LIMIT :chunk
    """,
    "counts": """
        SELECT job_id FROM attachment_counts c
        WHERE NOT EXISTS (SELECT FROM background_jobs j WHERE j.id = c.job_id)
          AND job_id <> ALL (CAST(:left AS bigint[])) LIMIT :chunk
    """,
    "keys": """
        SELECT ctid::text FROM idempotency_keys
        WHERE created_at < now() - interval '24 hours' AND ctid <> ALL (CAST(:left AS tid[])) LIMIT :chunk
    """,
    "sessions": """
        SELECT s.id FROM sessions s
        WHERE (s.expires_at < now() OR NOT EXISTS (
                  SELECT FROM api_tokens t WHERE t.id = s.token_id AND t.revoked_at IS NULL
                                             AND coalesce(t.expires_at > now(), true)))
          AND s.id <> ALL (CAST(:left AS bigint[])) LIMIT :chunk
    """,
    # What was a receipt is kept: by it a copy of the same receipt is known.
    "mails": """
        SELECT m.id FROM connections c JOIN mail_messages m ON m.connection_id = c.id
        WHERE c.status = 'deleted' AND c.updated_at < now() - pg_catalog.make_interval(days => :job_days)
          AND m.state <> 'receipt'
          AND m.id <> ALL (CAST(:left AS bigint[])) LIMIT :chunk
    """,
}

DELETE = {
    "messages": "DELETE FROM dramatiq.queue WHERE message_id = ANY (CAST(:ids AS uuid[])) RETURNING message_id",
    "jobs": "SELECT * FROM public.clear_jobs(CAST(:ids AS bigint[]))",
    "workers": "DELETE FROM workers WHERE id = ANY (:ids) RETURNING id",
    "counts": "DELETE FROM attachment_counts WHERE job_id = ANY (:ids) RETURNING job_id",
    "keys": """
        DELETE FROM idempotency_keys
        WHERE ctid = ANY (CAST(:ids AS tid[])) AND created_at < now() - interval '24 hours' RETURNING ctid::text
    """,  # since it was found, the key may have been reused, or its ctid by another row
    "sessions": "DELETE FROM sessions WHERE id = ANY (:ids) RETURNING id",
    "mails": "DELETE FROM mail_messages WHERE id = ANY (:ids) RETURNING id",
}

TEXTS = ("messages", "keys")  # whose ids are not numbers


def clear_old_rows(engine: Engine, settings: Settings) -> dict[str, int]:
    """Rows deleted, by table. One worker at a time; others find the lock taken and do nothing."""
    values = {"message_days": settings.MESSAGE_RETENTION_DAYS, "job_days": settings.JOB_RETENTION_DAYS, "chunk": CHUNK}
    deleted = dict.fromkeys(OLD, 0)
    with engine.connect() as session, holding(session, RETENTION) as held:
        if not held:
            return deleted
        for table in OLD:
            deleted[table] = _clear(session, table, values)
    del deleted["counts"], deleted["keys"], deleted["sessions"]
    if any(deleted.values()):
        log.info("retention.cleared", **deleted)
    return deleted


def _clear(session: Connection, table: str, values: dict[str, int]) -> int:
    """Rows deleted; a row that cannot be deleted is left and delays no others."""
    deleted, left, more = 0, list[str](), True
    while more:
        with session.begin():
            old = [str(found) for found in session.scalars(text(OLD[table]), {**values, "left": left})]
        ids = old if table in TEXTS else [int(found) for found in old]
        done = write_apart(session, text(DELETE[table]), ids, what=f"retention of {table}")
        gone = {str(found) for (found,) in done}
        left += [found for found in old if found not in gone]
        deleted += len(gone)
        more = len(old) == CHUNK
    return deleted
