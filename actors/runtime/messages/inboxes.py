"""Where claimed messages wait for a thread of this process: an inbox for each queue."""

from collections.abc import Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue

from actors.runtime.messages.delivery import Delivery

Inbox = SimpleQueue[Delivery]


class Inboxes:
    def __init__(self) -> None:
        self.long: list[str] = []  # queues of jobs
        self.short: list[str] = []  # all others
        self._of: dict[str, Inbox] = {}

    def names(self) -> list[str]:
        return list(self._of)

    def open(self, queue: str, *, long: bool) -> Inbox:
        """The inbox of this queue, new or existing."""
        if queue not in self._of:
            self._of[queue] = SimpleQueue()
            (self.long if long else self.short).append(queue)
        return self._of[queue]

    def put(self, delivery: Delivery, queue: str) -> None:
        self._of[queue].put(delivery)

    def taken_out(self) -> Iterator[Delivery]:
        """Empties all inboxes: what no thread has begun."""
        for inbox in list(self._of.values()):
            with suppress(Empty):
                while True:
                    yield inbox.get_nowait()
