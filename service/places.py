"""The web server's limit on connections: who is accepted, and whose connection is closed for that."""

import resource
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from service import refusals
from service.channel import IDLE, Channel

MAX_CONNECTIONS = 2000
LAST_REQUEST_SECONDS = 2  # for a whole request, from the last answer, or from when the process is to end
OTHER_FILES = 200  # open in a process; also connections beyond the limit, for a moment


def connection_limit() -> int:
    """As many as the process's file limit allows, less its other files; raises the soft limit first.

    Two files each: a large response that is not read yet waits in one.
    """
    wanted = 2 * MAX_CONNECTIONS + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else max(50, min(wanted, soft) - OTHER_FILES) // 2


class Places:
    """For a waitress server: at the limit, a new connection replaces the one whose client keeps us waiting longest."""

    channel_class = Channel
    active_channels: dict[int, Channel]
    accepting: bool
    adj: Any
    socket: Any
    del_channel: Callable[[], None]
    _map: dict[int, Any]

    def maintenance(self, _now: float) -> None:
        """Once a second."""
        now = time.monotonic()
        channels = list(self.active_channels.values())
        crowded = len(channels) > self.adj.connection_limit * 3 / 4
        for channel in channels:
            channel.check_deadline(now, crowded=crowded, ends=not self.accepting)
        refusals.lines.begin_second()

    def readable(self) -> bool:
        """While there is a place for a new connection, or one can be made."""
        has_one: bool = super().readable()  # type: ignore[misc]
        return has_one or (self.accepting and bool(self._who_makes_place()))

    def handle_accept(self) -> None:
        """Accepts some of those that wait: waitress accepts one per turn of its loop, and so in a flood new connections
        starve behind the others' requests.
        """
        limit, makes_place = self.adj.connection_limit, self._who_makes_place()
        self._accept(min(self._at_once(), limit - len(self._map) + len(makes_place)))
        # Only now: a file number freed earlier could go to a new connection, with the old one's events of this turn.
        for channel in makes_place[: max(0, len(self._map) - limit)]:
            channel.handle_close()

    def stop_accepting(self) -> None:
        """Accepts all who have connected already. Whoever comes later is refused at once: he would be cut off."""
        self._accept(self.adj.connection_limit - len(self._map))
        self.accepting = False
        self.del_channel()
        self.socket.close()
        self._stopped = time.monotonic()

    def _accept(self, most: int) -> None:
        """So many, or as many as there are."""
        for _ in range(most):
            before = len(self._map)
            super().handle_accept()  # type: ignore[misc]
            if len(self._map) == before:
                break

    def is_busy(self) -> bool:
        """Once it accepts nobody any more: does anybody still have to be answered?"""
        self.readable()  # closes connections whose time is over; the loop does not ask it any more
        for channel in list(self.active_channels.values()):
            has_had = time.monotonic() - max(self._stopped, channel.waits_since)
            if has_had > LAST_REQUEST_SECONDS and (channel.is_idle() or channel.lingering):
                channel.handle_close()
        return any(not channel.is_done() for channel in self.active_channels.values())

    def _at_once(self) -> int:
        """Few while there are few: other processes listen too, and whoever accepts ten at once has to serve all ten. At
        most a tenth of the limit, so that each has some turns before it can be replaced.
        """
        return min(1 + len(self.active_channels) // 8, max(1, int(self.adj.connection_limit) // 10))

    def _who_makes_place(self) -> list[Channel]:
        """Whom to close, in this order; empty while there is a place for all that are accepted at once. Not those whose
        first request may be here: they were accepted a moment ago, and the next turn reads it.
        """
        wanted = len(self._map) + self._at_once() - self.adj.connection_limit
        if wanted <= 0:
            return []
        return list(islice((channel for channel in self._in_order() if not channel.is_new()), wanted))

    def _in_order(self) -> Iterator[Channel]:
        """By rank; of those between two requests, first all that have not sent the next one yet."""
        ranks = [(rank, channel) for channel in self.active_channels.values() if (rank := channel.rank()) is not None]
        ask_again = []
        for (kind, _), channel in sorted(ranks, key=lambda ranked: ranked[0]):
            if kind == IDLE and channel.has_unread():
                ask_again.append(channel)
                continue
            if kind > IDLE:
                yield from ask_again
                ask_again = []
            yield channel
        yield from ask_again
