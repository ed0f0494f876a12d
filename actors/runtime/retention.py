"""Clears away what is old: finished messages, finished jobs with their events, workers that are gone."""

import structlog
from sqlalchemy import Engine, text

from actors.runtime.config import Settings
from sql.locks import RETENTION

log = structlog.get_logger("longhaul.retention")

CHUNK = 1000  # rows per statement: no long lock, no long transaction

MESSAGES = """
    DELETE FROM dramatiq.queue WHERE message_id IN (
        SELECT message_id FROM dramatiq.queue
        WHERE state IN ('done', 'rejected') AND mtime < now() - make_interval(days => :message_days) LIMIT :chunk)
"""

JOBS = """
    DELETE FROM background_jobs WHERE id IN (
        SELECT id FROM background_jobs
        WHERE created_at < now() - make_interval(days => :job_days)
          AND finished_at < now() - make_interval(days => :job_days)
        LIMIT :chunk)
"""

COUNTS = """
    DELETE FROM attachment_counts WHERE job_id IN (
        SELECT job_id FROM attachment_counts c
        WHERE NOT EXISTS (SELECT FROM background_jobs j WHERE j.id = c.job_id) LIMIT :chunk)
"""

WORKERS = """
    DELETE FROM workers WHERE id IN (
        SELECT id FROM workers w
        WHERE started_at < now() - make_interval(days => :job_days)
          AND NOT EXISTS (SELECT FROM public.live_workers() AS live (id) WHERE live.id = w.id)
        LIMIT :chunk)
"""


STATEMENTS = {"messages": MESSAGES, "jobs": JOBS, "workers": WORKERS}


def clear_old_rows(engine: Engine, settings: Settings) -> dict[str, int]:
    """Rows deleted, by table. One worker at a time; the others find the lock taken and do nothing."""
    values = {
        "message_days": settings.MESSAGE_RETENTION_DAYS,
        "job_days": settings.JOB_RETENTION_DAYS,
        "chunk": CHUNK,
    }
    deleted = {name: _clear(engine, statement, values) for name, statement in STATEMENTS.items()}
    _clear(engine, COUNTS, values)
    if any(deleted.values()):
        log.info("retention.cleared", **deleted)
    return deleted


def _clear(engine: Engine, statement: str, values: dict[str, int]) -> int:
    """Rows deleted, a chunk in each transaction."""
    deleted, rows = 0, CHUNK
    while rows == CHUNK:
        with engine.begin() as connection:
            ours = connection.execute(text("SELECT pg_try_advisory_xact_lock(:space, :id)"), RETENTION)
            rows = connection.execute(text(statement), values).rowcount if ours.scalar() else 0
        deleted += rows
    return deleted
