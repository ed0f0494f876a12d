"""The sweep: what dead workers held goes back to the queue. Each worker runs it about every second."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from actors.runtime.config import Settings
from actors.runtime.failures import is_timeout, is_transient, sentence, sqlstate
from actors.runtime.kinds import Kind
from sql.locks import SWEEP
from sql.states import FAILED

log = structlog.get_logger("longhaul.sweep")

LIMITS = "SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '3s'"
TRY_LOCK = text("SELECT pg_try_advisory_lock(:space, :id)")
UNLOCK = text("SELECT pg_advisory_unlock(:space, :id)")

Found = TypeVar("Found")
LEFT = re.compile(r"job (?P<id>\d+) .*\((?P<state>\w{5})\)")  # as functions/recover_jobs.sql warns of one

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
        CAST(:type AS text), CAST(:heartbeat_seconds AS integer), CAST(:update_seconds AS integer),
        CAST(:business_id AS bigint), CAST(:only_job AS bigint))
""")
RECOVER_MESSAGES = text("SELECT public.recover_messages()")
DROP_STALE = text("SELECT public.drop_stale_messages(CAST(:queues AS text[]), CAST(:actors AS text[]), 1000)")
RELEASED_AT_A_TIME = 1000  # as functions/release_due_messages.sql does
RELEASE_DUE = text("SELECT public.release_due_messages()")
WAKE = text("SELECT id FROM public.wake_queued_jobs()")


@dataclass
class Swept:
    """The ids of the jobs that something was done to, and how many messages."""

    recovered: list[int] = field(default_factory=list)  # their worker is dead
    stale: list[int] = field(default_factory=list)  # failed: their worker lives, but they do not move
    woken: list[int] = field(default_factory=list)  # queued, and no message would have woken them
    messages: int = 0  # that a dead worker held, back in their queues
    released: int = 0  # delayed ones whose time has come
    dropped: int = 0  # that could not start their job any more
    left: dict[int | None, str | None] = field(default_factory=dict)  # jobs that nothing could move, and the SQLSTATE

    @property
    def goes_on(self) -> bool:
        """There may be more to do, at once."""
        return max(self.released, self.dropped) >= RELEASED_AT_A_TIME


def sweep(connection: Connection, kinds: Iterable[Kind], settings: Settings) -> Swept | None:
    """One short round; None when another worker is at it. Each step is a transaction of its own, and costs itself."""
    kinds = list(kinds)
    with connection.begin():
        if not connection.execute(TRY_LOCK, SWEEP).scalar():
            return None
    try:
        swept = _sweep(connection, kinds, settings)
    finally:
        if not connection.invalidated:
            with connection.begin():
                connection.execute(UNLOCK, SWEEP)
    for event, ids in (
        ("sweep.recovered", swept.recovered),
        ("sweep.stale", swept.stale),
        ("sweep.woken", swept.woken),
    ):
        if ids:
            log.warning(event, jobs=ids)
    if swept.messages:
        log.warning("sweep.messages", number=swept.messages)
    return swept


def _sweep(connection: Connection, kinds: list[Kind], settings: Settings) -> Swept:
    swept = settle(connection, kinds, settings)
    names = {"queues": list({kind.queue for kind in kinds}), "actors": [kind.name for kind in kinds]}
    steps = _Steps(connection, swept)
    swept.dropped = steps.take("stale messages", _scalar(DROP_STALE, names)) or 0
    swept.messages = steps.take("messages", _scalar(RECOVER_MESSAGES)) or 0
    swept.released = steps.take("due", _scalar(RELEASE_DUE)) or 0
    swept.woken = steps.take("wake", lambda session: list(session.scalars(WAKE))) or []
    return swept


def settle(connection: Connection, kinds: Iterable[Kind], settings: Settings, business_id: int | None = None) -> Swept:
    """Brings running jobs (of one business) to where they truly are: first recovered, and only then stale.

    Outside a transaction each step is one of its own. A job that cannot be moved is named in the log, and holds up no
    others.
    """
    swept = Swept()
    steps = _Steps(connection, swept)
    swept.recovered = [row.id for row in steps.take_each_job("recover", RECOVER, {"business_id": business_id})]
    for kind in kinds:
        limits = {
            "type": kind.name,
            "heartbeat_seconds": kind.setting(settings, "STALE_HEARTBEAT_SECONDS"),
            "update_seconds": kind.setting(settings, "STALE_UPDATE_SECONDS"),
            "business_id": business_id,
        }
        swept.stale += [row.id for row in steps.take_each_job("stale", FAIL_STALE, limits) if row.status == FAILED]
    steps.take("clock", _scalar(WATCH_CLOCK))
    return swept


class _Steps:
    """Of one round. What fails is logged and noted in `swept.left`."""

    def __init__(self, connection: Connection, swept: Swept) -> None:
        self._connection = connection
        self._swept = swept

    def take(self, step: str, work: Callable[[Connection], Found], job_id: int | None = None) -> Found | None:
        """None when it fails."""
        try:
            return self._in_transaction(work)
        except DBAPIError as error:
            self._failed(step, error, job_id)
            return None

    def take_each_job(self, step: str, statement: Any, values: dict[str, Any]) -> list[Any]:
        """All at once; or, when that takes too long, one by one, so that the one that takes so long is alone."""

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
        """In a transaction of its own, with limits on its time; what the server warns of is logged."""
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
            raise error  # there is nothing to go on with
        self._swept.left[job_id] = sqlstate(error)
        write = log.warning if is_transient(error) else log.error
        write("sweep.failed", step=step, job_id=job_id, error=sentence(error))


class _Warnings:
    """Logs what the server warns of, as psycopg2 hands it over. No list: SQLAlchemy would empty that."""

    def __init__(self, swept: Swept) -> None:
        self._swept = swept

    def append(self, notice: str) -> None:
        line = notice.strip().partition("\n")[0].removeprefix("WARNING:  ")
        if job := LEFT.fullmatch(line):
            self._swept.left[int(job["id"])] = job["state"]
        log.error("sweep.left", error=line)


def _scalar(statement: Any, values: dict[str, Any] | None = None) -> Callable[[Connection], Any]:
    return lambda session: session.execute(statement, values or {}).scalar_one()
