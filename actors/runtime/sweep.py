"""The sweep: what dead workers held goes back to the queue. Each worker runs it about every second."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from actors.runtime.config import Settings
from actors.runtime.failures import is_transient, sentence
from actors.runtime.kinds import Kind
from sql.locks import SWEEP
from sql.states import FAILED

log = structlog.get_logger("longhaul.sweep")

RECOVER = text("SELECT id, status FROM public.recover_jobs(CAST(:business_id AS bigint))")
FAIL_STALE = text("""
    SELECT id, status FROM public.fail_stale_jobs(
        CAST(:type AS text), CAST(:heartbeat_seconds AS integer), CAST(:update_seconds AS integer),
        CAST(:business_id AS bigint))
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


def sweep(connection: Connection, kinds: Iterable[Kind], settings: Settings) -> Swept | None:
    """One short round in a transaction of its own; None when another worker is at it."""
    with connection.begin():
        connection.execute(text("SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '5s'"))
        if not connection.execute(text("SELECT pg_try_advisory_xact_lock(:space, :id)"), SWEEP).scalar():
            return None
        kinds = list(kinds)
        swept = settle(connection, kinds, settings)
        with _alone(connection, "stale messages"):
            named = {"queues": list({kind.queue for kind in kinds}), "actors": [kind.name for kind in kinds]}
            swept.dropped = connection.execute(DROP_STALE, named).scalar_one()
        with _alone(connection, "messages"):
            swept.messages = connection.execute(RECOVER_MESSAGES).scalar_one()
        with _alone(connection, "due"):
            swept.released = connection.execute(RELEASE_DUE).scalar_one()
        with _alone(connection, "wake"):
            swept.woken = list(connection.scalars(WAKE))
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


@contextmanager
def _alone(connection: Connection, step: str) -> Iterator[None]:
    """A step that may fail by itself: a lock on the queue must not keep the jobs from being recovered."""
    try:
        with connection.begin_nested():
            yield
    except DBAPIError as error:
        if error.connection_invalidated or not is_transient(error):
            raise
        log.warning("sweep.delayed", step=step, error=sentence(error))


def settle(connection: Connection, kinds: Iterable[Kind], settings: Settings, business_id: int | None = None) -> Swept:
    """Brings running jobs (of one business) to where they truly are: first recovered, and only then stale."""
    swept = Swept(recovered=[row.id for row in connection.execute(RECOVER, {"business_id": business_id})])
    for kind in kinds:
        limits = {
            "type": kind.name,
            "heartbeat_seconds": kind.setting(settings, "STALE_HEARTBEAT_SECONDS"),
            "update_seconds": kind.setting(settings, "STALE_UPDATE_SECONDS"),
            "business_id": business_id,
        }
        swept.stale += [row.id for row in connection.execute(FAIL_STALE, limits) if row.status == FAILED]
    return swept
