"""A message that this process holds: which delivery of it, to which identity, and what to do with it."""

from enum import Enum
from threading import Thread
from typing import Any

from dramatiq import Message, MessageProxy


class Outcome(Enum):
    """Decided when a thread is about to process it."""

    RUN = "run"
    REQUEUE = "requeue"  # the worker is stopping: it goes back to its queue
    DROP = "drop"  # its identity was lost: another worker has it


class Delivery(MessageProxy):
    """A message as Dramatiq's worker threads see it."""

    def __init__(self, message: "Message[Any]", order: int, number: int, worker_id: int, *, was_lost: bool) -> None:
        super().__init__(message)
        self.order = order
        self.number = number
        self.worker_id = worker_id
        self.was_lost = was_lost  # by a worker that died, perhaps because of it
        self.outcome = Outcome.RUN
        self.thread: Thread | None = None  # the one that processes it
        self.begun_at = 0.0  # monotonic
        self.seconds: float | None = None  # how long its actor took
        self.next: tuple[str, str] | None = None  # queue and JSON of a message sent since under its id: a retry
        self.follow_up_error: Exception | None = None  # its retry, callback or next step of a pipeline cannot be sent
        self.ended = False  # Dramatiq is done with it
        self.finished = False  # and so are we

    @property
    def failure(self) -> BaseException | None:
        """What its actor raised."""
        raised: BaseException | None = getattr(self, "_exception", None)
        return raised

    def __lt__(self, other: Any) -> bool:
        """Within a priority, the message claimed first goes first; in Dramatiq, each claims to be first."""
        return bool(self.order < other.order)
