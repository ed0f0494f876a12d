"""The sweep: what dead workers held goes back to the queue. Each worker runs it about every second."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from actors.runtime.config import Settings
from actors.runtime.failures import is_timeout, is_transient, sentence
from actors.runtime.kinds import Kind
from sql.locks import SWEEP
from sql.states import FAILED

log = structlog.get_logger("longhaul.sweep")

LIMITS = "SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '3s'"
TRY_LOCK = text("SELECT pg_try_advisory_lock(:space, :id)")
UNLOCK = text("SELECT pg_advisory_unlock(:space, :id)")

Found = TypeVar("Found")

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
    swept.dropped = _step(connection, "stale messages", _scalar(DROP_STALE, names)) or 0
    swept.messages = _step(connection, "messages", _scalar(RECOVER_MESSAGES)) or 0
    swept.released = _step(connection, "due", _scalar(RELEASE_DUE)) or 0
    swept.woken = _step(connection, "wake", lambda session: list(session.scalars(WAKE))) or []
    return swept


def settle(connection: Connection, kinds: Iterable[Kind], settings: Settings, business_id: int | None = None) -> Swept:
    """Brings running jobs (of one business) to where they truly are: first recovered, and only then stale.

    Outside a transaction each step is one of its own. A job that cannot be moved is named in the log, and holds up no
    others.
    """
    swept = Swept()
    swept.recovered = [row.id for row in _each_job(connection, "recover", RECOVER, {"business_id": business_id})]
    for kind in kinds:
        limits = {
            "type": kind.name,
            "heartbeat_seconds": kind.setting(settings, "STALE_HEARTBEAT_SECONDS"),
            "update_seconds": kind.setting(settings, "STALE_UPDATE_SECONDS"),
            "business_id": business_id,
        }
        swept.stale += [row.id for row in _each_job(connection, "stale", FAIL_STALE, limits) if row.status == FAILED]
    _step(connection, "clock", _scalar(WATCH_CLOCK))
    return swept


def _each_job(connection: Connection, step: str, statement: Any, values: dict[str, Any]) -> list[Any]:
    """All at once; or, when that takes too long, one by one, so that the one that takes so long is alone."""

    def all_at_once(session: Connection) -> list[Any]:
        return list(session.execute(statement, {**values, "only_job": None}))

    def only(job_id: int) -> Callable[[Connection], list[Any]]:
        return lambda session: list(session.execute(statement, {**values, "only_job": job_id}))

    try:
        return _in_transaction(connection, all_at_once)
    except DBAPIError as error:
        if error.connection_invalidated or not is_timeout(error):
            _log_failure(step, error)
            return []
    moved = []
    for job_id in _step(connection, step, lambda session: list(session.scalars(RUNNING, values))) or []:
        moved += _step(connection, step, only(job_id), job_id=job_id) or []
    return moved


def _step(connection: Connection, step: str, work: Callable[[Connection], Found], **facts: int) -> Found | None:
    """None when it fails, which the log says."""
    try:
        return _in_transaction(connection, work)
    except DBAPIError as error:
        _log_failure(step, error, **facts)
        return None


def _in_transaction(connection: Connection, work: Callable[[Connection], Found]) -> Found:
    """In a transaction of its own, with limits on its time; what the server warns of is logged."""
    with connection.begin_nested() if connection.in_transaction() else connection.begin():
        connection.exec_driver_sql(LIMITS)
        session: Any = connection.connection.driver_connection
        session.notices = _Warnings()
        try:
            return work(connection)
        finally:
            session.notices = []


class _Warnings:
    """Logs what the server warns of, as psycopg2 hands it over. No list: SQLAlchemy would empty that."""

    def append(self, notice: str) -> None:
        log.error("sweep.left", error=notice.strip().partition("\n")[0].removeprefix("WARNING:  "))


def _log_failure(step: str, error: DBAPIError, **facts: int) -> None:
    if error.connection_invalidated:
        raise error  # there is nothing to go on with
    level = 30 if is_transient(error) else 40
    log.log(level, "sweep.failed", step=step, error=sentence(error), **facts)


def _scalar(statement: Any, values: dict[str, Any] | None = None) -> Callable[[Connection], Any]:
    return lambda session: session.execute(statement, values or {}).scalar_one()
