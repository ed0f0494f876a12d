"""A message in the hands of this process: which delivery of it, to which identity, and what shall become of it."""

from enum import Enum
from threading import Thread
from typing import Any

from dramatiq import Message, MessageProxy


class Outcome(Enum):
    """Decided when a thread is about to begin."""

    RUN = "run"
    REQUEUE = "requeue"  # the worker is stopping: it goes back to its queue
    DROP = "drop"  # its identity was lost: it is somebody else's by now


class Delivery(MessageProxy):
    """A message as Dramatiq's worker threads see it."""

    def __init__(self, message: "Message[Any]", order: int, number: int, worker_id: int, *, was_lost: bool) -> None:
        super().__init__(message)
        self.order = order
        self.number = number
        self.worker_id = worker_id
        self.was_lost = was_lost  # with a worker that died: it may be what killed it
        self.outcome = Outcome.RUN
        self.thread: Thread | None = None  # that processes it
        self.begun_at = 0.0  # monotonic
        self.seconds: float | None = None  # that its actor took
        self.next: tuple[str, str] | None = None  # queue and JSON of what was sent under its id meanwhile: a retry
        self.follow_up_error: Exception | None = None  # its retry, callback or next step of a pipeline cannot be sent
        self.ended = False  # Dramatiq is done with it
        self.finished = False  # and so are we

    @property
    def failure(self) -> BaseException | None:
        """What its actor raised."""
        raised: BaseException | None = getattr(self, "_exception", None)
        return raised

    def __lt__(self, other: Any) -> bool:
        """Among messages of one priority the one that was claimed first goes first; Dramatiq says "always me"."""
        return bool(self.order < other.order)
