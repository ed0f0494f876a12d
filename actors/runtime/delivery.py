"""A message in the hands of this process: which delivery of it, to which identity; and how deliveries are ended."""

import json
from collections import deque
from threading import Lock
from typing import Any, NamedTuple

from dramatiq import Message, MessageProxy
from sqlalchemy import Connection, Engine, text

SETTLE = text("""
    SELECT * FROM settle_messages(:worker_id, CAST(:ids AS uuid[]), :deliveries, :states, CAST(:messages AS jsonb[]))
""")

WAKE = text("SELECT wake_workers(:queues)")

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

    A write that fails loses none: they stay, and the next caller, or the feeder's next round, tries again.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
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
                while self._waiting:
                    batch.append(self._waiting.popleft())
                with self._engine.begin() as connection:
                    settle(connection, batch)
            except BaseException:
                self._waiting.extendleft(reversed(batch))
                raise
            finally:
                self._writing.release()


def settle(connection: Connection, batch: list[Ended]) -> None:
    """One statement for each identity among them, as a rule one."""
    for worker_id in {ended.delivery.worker_id for ended in batch}:
        ours = [ended for ended in batch if ended.delivery.worker_id == worker_id]
        values = {
            "worker_id": worker_id,
            "ids": [ended.delivery.message_id for ended in ours],
            "deliveries": [ended.delivery.number for ended in ours],
            "states": [ended.state for ended in ours],
            "messages": [_changed(ended) for ended in ours],
        }
        connection.execute(SETTLE, values)
        given_back = {ended.delivery.queue_name for ended in ours if ended.state == QUEUED}
        if given_back:
            connection.execute(WAKE, {"queues": sorted(given_back)})


def _changed(ended: Ended) -> str | None:
    """A rejected message keeps what its middleware noted on it, the traceback above all; others stay as they are."""
    if ended.state != REJECTED:
        return None
    return json.dumps(json.loads(ended.delivery.encode()))
