"""Reconciles running jobs: recovers them if their worker is dead, and only then fails stale ones."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from actors.runtime.base.config import Settings
from actors.runtime.base.failures import describe, is_timeout, is_transient, sqlstate
from sql.states import FAILED

log = structlog.get_logger("longhaul.sweep")

RELEASED_AT_A_TIME = 1000  # as functions/messages/enqueue_due_messages.sql and drop_stale_messages.sql do
LIMITS = "SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '3s'"
Found = TypeVar("Found")
LEFT = re.compile(r"job (?P<id>\d+) .*\((?P<state>\w{5})\)")  # as functions/jobs/recover_jobs.sql warns of one
WATCH_CLOCK = text("SELECT public.watch_clock()")
RUNNING = text("""
    SELECT id FROM background_jobs
    WHERE status = 'running' AND (CAST(:business_id AS bigint) IS NULL OR business_id = :business_id) ORDER BY id
""")
RECOVER = text("""
    SELECT id, status FROM public.recover_jobs(CAST(:business_id AS bigint), CAST(:only_job AS bigint))
""")
FAIL_STALE = text("""
    SELECT id, status FROM public.fail_stale_jobs(
        CAST(NULL AS text), CAST(:heartbeat_seconds AS integer), CAST(:update_seconds AS integer),
        CAST(:business_id AS bigint), CAST(:only_job AS bigint))
""")


@dataclass
class Swept:
    """The ids of the jobs that were changed, and how many messages."""

    recovered: list[int] = field(default_factory=list)  # their worker is dead
    stale: list[int] = field(default_factory=list)  # failed: their worker is alive, but they do not move
    woken: list[int] = field(default_factory=list)  # queued, but without a message
    messages: int = 0  # put back after a dead worker held them
    released: int = 0  # delayed ones that are now due
    dropped: int = 0  # that could no longer start their job
    left: dict[int | None, str | None] = field(default_factory=dict)  # jobs that nothing could move, and the SQLSTATE

    @property
    def goes_on(self) -> bool:
        """There may be more to do at once."""
        return max(self.released, self.dropped) >= RELEASED_AT_A_TIME


def reconcile(connection: Connection, settings: Settings, business_id: int | None = None) -> Swept:
    """Reconciles running jobs (of one business): first recovers, and only then fails stale ones.

    Outside a transaction, each step has its own. A job that cannot be moved is logged and delays no other.
    """
    swept = Swept()
    steps = Steps(connection, swept)
    swept.recovered = [row.id for row in steps.take_each_job("recover", RECOVER, {"business_id": business_id})]
    limits = {
        "heartbeat_seconds": settings.STALE_HEARTBEAT_SECONDS,  # for claims of an earlier release, which stored none
        "update_seconds": settings.STALE_UPDATE_SECONDS,
        "business_id": business_id,
    }
    swept.stale = [row.id for row in steps.take_each_job("stale", FAIL_STALE, limits) if row.status == FAILED]
    steps.take("clock", scalar(WATCH_CLOCK))
    return swept


class Steps:
    """The steps of one round. A failure is logged and recorded in `swept.left`."""

    def __init__(self, connection: Connection, swept: Swept) -> None:
        self._connection = connection
        self._swept = swept

    def take(self, step: str, work: Callable[[Connection], Found], job_id: int | None = None) -> Found | None:
        """None if it fails."""
        try:
            return self._in_transaction(work)
        except DBAPIError as error:
            self._failed(step, error, job_id)
            return None

    def take_each_job(self, step: str, statement: Any, values: dict[str, Any]) -> list[Any]:
        """All at once; if that takes too long, one by one, so that a slow one delays only itself."""

        def of(job_id: int | None) -> Callable[[Connection], list[Any]]:
            return lambda session: list(session.execute(statement, {**values, "only_job": job_id}))

        try:
            return self._in_transaction(of(None))
        except DBAPIError as error:
            if error.connection_invalidated or not is_timeout(error):
                self._failed(step, error)
                return []
        moved = []
        for job_id in self.take(step, lambda session: list(session.scalars(RUNNING, values))) or []:
            moved += self.take(step, of(job_id), job_id) or []
        return moved

    def _in_transaction(self, work: Callable[[Connection], Found]) -> Found:
        """In its own transaction, with time limits; the server's warnings are logged."""
        connection = self._connection
        with connection.begin_nested() if connection.in_transaction() else connection.begin():
            connection.exec_driver_sql(LIMITS)
            session: Any = connection.connection.driver_connection
            session.notices = _Warnings(self._swept)
            try:
                return work(connection)
            finally:
                session.notices = []

    def _failed(self, step: str, error: DBAPIError, job_id: int | None = None) -> None:
        if error.connection_invalidated:
            raise error  # there is no connection to continue with
        self._swept.left[job_id] = sqlstate(error)
        write = log.warning if is_transient(error) else log.error
        write("sweep.failed", step=step, job_id=job_id, error=describe(error))


class _Warnings:
    """Logs the server's warnings, as psycopg2 appends them. Not a list: SQLAlchemy would empty that."""

    def __init__(self, swept: Swept) -> None:
        self._swept = swept

    def append(self, notice: str) -> None:
        line = notice.strip().partition("\n")[0].removeprefix("WARNING:  ")
        if job := LEFT.fullmatch(line):
            self._swept.left[int(job["id"])] = job["state"]
        log.error("sweep.left", error=line)


def scalar(statement: Any, values: dict[str, Any] | None = None) -> Callable[[Connection], Any]:
    return lambda session: session.execute(statement, values or {}).scalar_one()
