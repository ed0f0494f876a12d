"""Acks, written in groups: the thread that finds the buffer free writes all that are waiting."""

from collections import deque
from collections.abc import Callable
from contextlib import closing
from threading import Lock
from typing import Any, NamedTuple

import psycopg2
import structlog
from sqlalchemy import Engine, PoolProxiedConnection

from actors.runtime.base.failures import describe, is_transient, sqlstate
from actors.runtime.messages.delivery import Delivery

log = structlog.get_logger("longhaul.queue")

ACK = """
    SELECT public.ack_messages(%s::integer, %s::uuid[], %s::integer[], %s::text[], %s::jsonb[], %s::text[])::text
"""

WAKE = "SELECT public.wake_workers(%s::text[])"
LIMIT = "SET statement_timeout = '5s'"

GROUP = 256  # maximum number of acks in one statement
MOST_LATER = 10_000

DONE, REJECTED, QUEUED = "done", "rejected", "queued"


class Ack(NamedTuple):
    worker_id: int
    message_id: str
    number: int  # of the delivery
    queue_name: str
    state: str
    body: str | None = None  # JSON; None keeps what is in the table
    reason: str | None = None
    delivery: Delivery | None = None  # None: nobody needs to be told

    @classmethod
    def of(cls, delivery: Delivery, state: str, body: str | None = None, reason: str | None = None) -> "Ack":
        identity = (delivery.worker_id, delivery.message_id, delivery.number, delivery.queue_name)
        return cls(*identity, state, body, None if reason is None else plain(reason), delivery)


class Acks:
    """A failed write loses no ack: the next caller, or the thread that flushes each second, tries again.

    An ack that cannot be written, or whose row is locked, delays no others. One connection in autocommit: a group
    costs one round trip.
    """

    def __init__(self, engine: Engine) -> None:
        self.on_written: Callable[[Delivery], None] = lambda _delivery: None
        self._engine = engine
        self._connection: PoolProxiedConnection | None = None
        self._waiting: deque[Ack] = deque()
        self._later: deque[Ack] = deque(maxlen=MOST_LATER)  # retried with the next flush()
        self._writing = Lock()

    def add(self, ack: Ack) -> None:
        self._waiting.append(ack)
        self._write_waiting()

    def add_or_retry(self, ack: Ack) -> None:
        """Never raises: a failed write is logged, and retried with the next one or within a second."""
        try:
            self.add(ack)
        except Exception as error:
            bug = None if is_transient(error) else error
            log.warning("ack.delayed", message_id=ack.message_id, error=describe(error), exc_info=bug)

    def flush(self) -> None:
        while self._later:
            self._waiting.append(self._later.popleft())
        self._write_waiting()

    def _write_waiting(self) -> None:
        """Writes all waiting acks, unless another thread is doing so: it will find ours."""
        while self._waiting and self._writing.acquire(blocking=False):
            group: list[Ack] = []
            try:
                for _ in range(min(len(self._waiting), GROUP)):  # others keep adding
                    group.append(self._waiting.popleft())
                later = self._write(group)
                self._later.extend(later)
                locked = {ack.message_id for ack in later if ack.delivery}
                for ack in group:
                    if ack.delivery and ack.message_id not in locked:
                        self.on_written(ack.delivery)
            except BaseException:
                self._waiting.extendleft(reversed(group))
                self._disconnect()
                raise
            finally:
                self._writing.release()

    def _write(self, group: list[Ack]) -> list[Ack]:
        """Returns those to retry later."""
        if self._connection is None:
            self._connection = self._engine.raw_connection()
            self._connection.driver_connection.autocommit = True  # type: ignore[union-attr]
            with closing(self._connection.cursor()) as cursor:
                cursor.execute(LIMIT)
        with closing(self._connection.cursor()) as cursor:
            later = []
            for worker_id in {ack.worker_id for ack in group}:  # usually one
                later += _write_all(cursor, [ack for ack in group if ack.worker_id == worker_id])
        return later

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection = None


def _write_all(cursor: Any, acks: list[Ack]) -> list[Ack]:
    """Writes one worker's acks together or, if one of them cannot be written, one by one."""
    try:
        return _execute(cursor, acks)
    except Exception as error:
        if _is_everybodys(error, cursor):
            raise
    return [ack for one in acks for ack in _write_alone(cursor, one)]


def _write_alone(cursor: Any, ack: Ack) -> list[Ack]:
    """With its body, else rejected without it. Returns the ack if even that fails."""
    attempt = ack
    while True:
        try:
            return _execute(cursor, [attempt])
        except Exception as error:
            if _is_everybodys(error, cursor):
                raise
            if is_transient(error):  # a lock, say
                return [ack]
            reason = plain(describe(error))
            log.error("ack.failed", message_id=ack.message_id, state=attempt.state, error=reason)
        if attempt.body is None:  # its slot is free: an ack that can't be written must not stop its queue
            return [ack._replace(delivery=None)]
        attempt = ack._replace(state=REJECTED, body=None, reason=f"it cannot be written: {reason}")


def _is_everybodys(error: Exception, cursor: Any) -> bool:
    """Is it about the server or the connection rather than one message?"""
    state = sqlstate(error)
    lost = isinstance(error, psycopg2.Error) and state is None
    return lost or bool(cursor.connection.closed) or (state or "").startswith(("08", "25", "53", "57P", "58"))


def plain(words: str) -> str:
    """As Postgres can store it."""
    return words.replace("\x00", "").encode("utf-8", "replace").decode()


def _execute(cursor: Any, acks: list[Ack]) -> list[Ack]:
    """Returns those whose rows are locked."""
    columns = ([getattr(ack, name) for ack in acks] for name in ("message_id", "number", "state", "body", "reason"))
    cursor.execute(ACK, (acks[0].worker_id, *columns))
    locked = {row[0] for row in cursor.fetchall()}
    if back := {ack.queue_name for ack in acks if ack.state == QUEUED}:
        cursor.execute(WAKE, (sorted(back),))
    return [ack for ack in acks if ack.message_id in locked] if locked else []
