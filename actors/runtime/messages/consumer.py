"""One queue of the fetcher, as Dramatiq's threads see it."""

from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue

import dramatiq

from actors.runtime.messages.acks import DONE, QUEUED, REJECTED
from actors.runtime.messages.delivery import Delivery

POLL_SECONDS = 0.2  # how often a waiting thread checks whether to stop; Dramatiq's 1 s adds up at shutdown


class Consumer(dramatiq.Consumer):
    def __init__(
        self, inbox: "SimpleQueue[Delivery | None]", end: Callable[[Delivery, str], None], timeout: float
    ) -> None:
        """`end(delivery, state)` gets each delivery's state from Dramatiq; `timeout` is in seconds."""
        self._inbox = inbox
        self._end = end
        self._timeout = min(timeout, POLL_SECONDS)

    def __next__(self) -> Delivery | None:
        try:
            return self._inbox.get(timeout=self._timeout)
        except Empty:
            return None

    def ack(self, message: Delivery) -> None:
        self._end(message, DONE)

    def nack(self, message: Delivery) -> None:
        self._end(message, REJECTED)

    def requeue(self, messages: Iterator[Delivery]) -> None:
        for message in messages:
            self._end(message, QUEUED)
