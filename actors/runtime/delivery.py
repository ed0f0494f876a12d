"""A message in the hands of this process: which delivery of it, to which identity; and how deliveries are ended."""

import json
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from threading import Lock
from typing import Any, NamedTuple

import structlog
from dramatiq import Message, MessageProxy
from psycopg2 import DataError
from sqlalchemy import Engine, PoolProxiedConnection

log = structlog.get_logger("longhaul.queue")

SETTLE = "SELECT FROM public.settle_messages(%s, %s::uuid[], %s::integer[], %s::text[], %s::jsonb[])"

WAKE = "SELECT public.wake_workers(%s::text[])"

GROUP = 256  # ends in one statement, at most

DONE, REJECTED, QUEUED = "done", "rejected", "queued"


class Delivery(MessageProxy):
    """A message as Dramatiq's worker threads see it."""

    def __init__(self, message: "Message[Any]", order: int, number: int, worker_id: int) -> None:
        super().__init__(message)
        self.order = order
        self.number = number
        self.worker_id = worker_id
        self.void = False  # its identity was lost before anybody began: it is somebody else's by now
        self.returned = False  # nobody began, for the worker is stopping: it goes back to its queue

    def __lt__(self, other: Any) -> bool:
        """Among messages of one priority the one that was claimed first goes first; Dramatiq says "always me"."""
        return bool(self.order < other.order)


class Ended(NamedTuple):
    delivery: Delivery
    state: str


class Settlements:
    """Ends of deliveries, written in groups: whoever finds the buffer free writes all that has gathered there.

    A write that fails loses none: they stay, and the next caller, or the thread that flushes each second, tries again.
    One connection in autocommit: a group costs one round trip.
    """

    def __init__(self, engine: Engine) -> None:
        self.on_written: Callable[[Delivery], None] = lambda _delivery: None
        self._engine = engine
        self._connection: PoolProxiedConnection | None = None
        self._waiting: deque[Ended] = deque()
        self._writing = Lock()

    def end(self, delivery: Delivery, state: str) -> None:
        self._waiting.append(Ended(delivery, state))
        self.flush()

    def flush(self) -> None:
        """Writes all that waits, unless another thread is at it: that one will find ours."""
        while self._waiting and self._writing.acquire(blocking=False):
            batch: list[Ended] = []
            try:
                for _ in range(min(len(self._waiting), GROUP)):  # others go on adding meanwhile
                    batch.append(self._waiting.popleft())
                self._write(batch)
                for ended in batch:
                    self.on_written(ended.delivery)
            except BaseException:
                self._waiting.extendleft(reversed(batch))
                self._disconnect()
                raise
            finally:
                self._writing.release()

    def _write(self, batch: list[Ended]) -> None:
        if self._connection is None:
            self._connection = self._engine.raw_connection()
            self._connection.driver_connection.autocommit = True  # type: ignore[union-attr]
        with closing(self._connection.cursor()) as cursor:
            for worker_id in {ended.delivery.worker_id for ended in batch}:  # as a rule one
                ours = [ended for ended in batch if ended.delivery.worker_id == worker_id]
                try:
                    settle(cursor, worker_id, ours)
                except DataError:  # one of them cannot be written: it must not hold up the others
                    for ended in ours:
                        settle_alone(cursor, worker_id, ended)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection = None


def settle_alone(cursor: Any, worker_id: int, ended: Ended) -> None:
    """With what its middleware noted on it, else without."""
    for keep in (False, True):
        with suppress(DataError):
            settle(cursor, worker_id, [ended], keep_messages=keep)
            return
    log.error("settlement.impossible", message_id=ended.delivery.message_id)


def settle(cursor: Any, worker_id: int, batch: list[Ended], *, keep_messages: bool = False) -> None:
    values = (
        worker_id,
        [ended.delivery.message_id for ended in batch],
        [ended.delivery.number for ended in batch],
        [ended.state for ended in batch],
        [None if keep_messages else _changed(ended) for ended in batch],
    )
    cursor.execute(SETTLE, values)
    given_back = {ended.delivery.queue_name for ended in batch if ended.state == QUEUED}
    if given_back:
        cursor.execute(WAKE, (sorted(given_back),))


def _changed(ended: Ended) -> str | None:
    """A rejected message keeps what its middleware noted on it, the traceback above all; others stay as they are."""
    if ended.state != REJECTED:
        return None
    return as_json(ended.delivery)


def as_json(message: Any) -> str:
    """A message as jsonb takes it: without NUL characters and halves of surrogate pairs, wherever they stand."""
    return json.dumps(_clean(json.loads(message.encode())))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "").encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(name): _clean(item) for name, item in value.items()}
    return value
