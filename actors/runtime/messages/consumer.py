"""One queue of the fetcher, as Dramatiq's threads see it."""

from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue

import dramatiq

from actors.runtime.messages.acks import DONE, QUEUED, REJECTED, Acks
from actors.runtime.messages.delivery import Delivery, Outcome
from actors.runtime.messages.ending import ack_of

POLL_SECONDS = 0.2  # how often a waiting thread checks whether to stop; Dramatiq's 1 s adds up at shutdown


class Consumer(dramatiq.Consumer):
    def __init__(
        self, inbox: "SimpleQueue[Delivery]", acks: Acks, finish: Callable[[Delivery], None], timeout: float
    ) -> None:
        """`finish(delivery)` gets those that need no ack; `timeout` is in seconds."""
        self._inbox = inbox
        self._acks = acks
        self._finish = finish
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

    def _end(self, delivery: Delivery, state: str) -> None:
        """Called once for each delivery, with its state from Dramatiq."""
        delivery.ended = True
        if delivery.outcome is Outcome.DROP:
            self._finish(delivery)
        else:
            self._acks.add_or_retry(ack_of(delivery, state))
