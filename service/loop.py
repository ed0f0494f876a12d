"""The web server's event loop: what a turn costs depends on the connections that do something, not on all of them."""

import select
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from typing import Any

from waitress.wasyncore import readwrite

from service.channel import Channel


class Sockets(dict[int, Any]):
    """The map of a waitress server, each dispatcher by its file number, with a loop of its own. Waitress's asks every
    connection at every turn what it waits for; this one asks a quiet connection only after an event of its own, or when
    a thread begins to serve it: until then nothing changes it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._selector = DefaultSelector()
        self._watched: dict[int, int] = {}  # events by file number
        self._to_ask: set[int] = set()

    def __setitem__(self, number: int, dispatcher: Any) -> None:
        super().__setitem__(number, dispatcher)
        self._to_ask.add(number)

    def __delitem__(self, number: int) -> None:
        """The file is still open: once it is closed, its number may belong to another."""
        super().__delitem__(number)
        self._watch(number, 0)

    def ask(self, number: int) -> None:
        """Also from another thread, which is about to change what the connection waits for."""
        self._to_ask.add(number)

    def turn(self, seconds: float) -> None:
        """Waits for events, at most so long, and lets their dispatchers handle them."""
        for number in list(self._to_ask):
            self._to_ask.discard(number)  # first: a thread may add it meanwhile
            if (dispatcher := self.get(number)) is not None:
                self._ask(number, dispatcher)
        for key, events in self._selector.select(seconds):
            if (dispatcher := self.get(key.fd)) is not None:
                self._to_ask.add(key.fd)
                readable = select.POLLIN if events & EVENT_READ else 0
                readwrite(dispatcher, readable | (select.POLLOUT if events & EVENT_WRITE else 0))

    def _ask(self, number: int, dispatcher: Any) -> None:
        if not (isinstance(dispatcher, Channel) and dispatcher.is_quiet()):
            self._to_ask.add(number)
        reads = EVENT_READ if dispatcher.readable() else 0
        writes = EVENT_WRITE if dispatcher.writable() and not dispatcher.accepting else 0
        if number in self:  # as a server is asked, it closes connections whose time is over
            self._watch(number, reads | writes)

    def _watch(self, number: int, events: int) -> None:
        """With no events it is not watched at all: epoll would report a client that has gone at every turn."""
        before = self._watched.get(number, 0)
        if events == before:
            return
        if not before:
            self._selector.register(number, events)
        elif not events:
            self._selector.unregister(number)
        else:
            self._selector.modify(number, events)
        self._watched[number] = events
        if not events:
            del self._watched[number]
