"""The feeder: one thread and one session per process, for all queues.

Its session holds the lock that says that this process is alive, listens for new messages, and claims them: so a claim
can never outlive the identity that it was made for. Between two claims it sleeps until somebody sends a message, a
thread gets free, or a second is over.
"""

import os
import random
import select
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

import structlog
from dramatiq import DecodeError, Message
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from actors.runtime.delivery import QUEUED, Delivery, Settlements
from actors.runtime.failures import sentence
from actors.runtime.presence import Presence
from actors.runtime.room import Room
from sql.engine import autocommitting

log = structlog.get_logger("longhaul.worker")

TICK_SECONDS = 1.0

CLAIM = """
    SELECT seq, delivery, queue_name, message, message_id::text
    FROM public.claim_messages(%s::integer, %s::text[], %s::integer[], %s::bigint[], %s::integer)
"""

REJECT = """
    SELECT FROM public.settle_messages(%s, ARRAY[%s]::uuid[], ARRAY[%s]::integer[], ARRAY['rejected'],
                                       ARRAY[NULL]::jsonb[])
"""


class Feeder(Thread):
    def __init__(
        self,
        presence: Presence,
        settlements: Settlements,
        stopping: Event,
        threads: int,
        tick: Callable[[Connection], bool],  # each second; True: again, at once
    ) -> None:
        super().__init__(name="feeder", daemon=True)
        self.room = Room(threads)
        self._presence = presence
        self._settlements = settlements
        settlements.on_written = self.finish  # not before: what is not written yet is still in our hands
        self._stopping = stopping
        self._tick = tick
        self._next_tick = 0.0
        self._long: list[str] = []
        self._short: list[str] = []
        self._inboxes: dict[str, SimpleQueue[Delivery | None]] = {}
        self._afters: dict[str, int] = defaultdict(int)  # look above what was claimed last: cheap under an old snapshot
        self._order = count()
        self._unreadable: list[tuple[int, str, int]] = []  # (worker, message, delivery), to be rejected
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._ended = False

    def serve(self, queue: str, *, long: bool) -> "SimpleQueue[Delivery | None]":
        """From now on messages of this queue are claimed; they arrive in the queue that is returned."""
        if queue not in self._inboxes:
            self._inboxes[queue] = SimpleQueue()
            (self._long if long else self._short).append(queue)
            self.poke()
        return self._inboxes[queue]

    def finish(self, delivery: Delivery) -> None:
        """It is not in our hands any more: there is room for another."""
        self.room.give(delivery.queue_name)
        if delivery.queue_name in self._long or self.room.for_short(delivery.queue_name):
            self.poke()

    def poke(self) -> None:
        with suppress(BlockingIOError, OSError):
            os.write(self._wake_write, b".")

    def run(self) -> None:
        try:
            while not self._ended:
                self._survive_one_round()
        finally:
            if not self._ended:  # a process that lives but takes nothing would be the worst of all
                log.critical("feeder.died")
                os.kill(os.getpid(), signal.SIGTERM)

    def _survive_one_round(self) -> None:
        session = None
        try:
            session = self._presence.session()
            self._round(session)
        except Exception as error:
            told = sentence(error) if isinstance(error, DBAPIError) else repr(error)[:300]
            if session is not None and not session.invalidated and not session.connection.closed:
                log.warning("feeder.failed", error=told)  # a lock timeout, say: the session still holds our lock
                self._wait(None)
                return
            # The identity goes with the session. What it had claimed and nobody began is void; the sweep of any
            # worker, our next identity among them, puts it back.
            log.warning("feeder.lost", error=told)
            self._lose()
            self._wait(None)

    def _lose(self) -> None:
        self._presence.lose()
        for delivery in self._taken_out():
            self.room.give(delivery.queue_name)

    def _round(self, session: Connection) -> None:
        if not self._presence.seen():
            log.warning("feeder.lost", error="this process stood still for too long")
            self._lose()
            return
        if time.monotonic() >= self._next_tick:
            self._next_tick = time.monotonic() + TICK_SECONDS
            self._afters.clear()  # perhaps older ones have come back: look from the start
            if self._tick(session):
                self._next_tick = 0.0  # there is more of that
            self._reject_unreadable(session)
        if self._stopping.is_set() or not self._claim(session):
            self._wait(session)

    def _claim(self, session: Connection) -> bool:
        """Claims what there is room for; True when there may be more."""
        more = False
        if self._long:
            most = self.room.for_long(self._long, beside_short=bool(self._short))
            more |= self._claim_from(session, {queue: most for queue in self._long if most}, most)
        limits = {queue: room for queue in self._short if (room := self.room.for_short(queue))}
        if limits and (not self._long or self.room.for_long(self._long, beside_short=False)):
            more |= self._claim_from(session, limits, sum(limits.values()))
        return more

    def _claim_from(self, session: Connection, limits: dict[str, int], most: int) -> bool:
        if not limits:
            return False
        names = random.sample(list(limits), len(limits))  # nobody is always first, not even for a single free thread
        afters = [self._afters[name] for name in names]
        worker_id = self._presence.worker_id()
        with autocommitting(session) as cursor:
            cursor.execute(CLAIM, (worker_id, names, [limits[name] for name in names], afters, most))
            rows = cursor.fetchall()
        self._presence.heard()
        found: dict[str, int] = defaultdict(int)
        turns = []  # oldest first within a queue, turn by turn between them
        for seq, number, queue, message, message_id in sorted(rows):
            found[queue] += 1
            self._afters[queue] = seq
            turns.append((found[queue], seq, number, queue, message, message_id))
        for _, _, number, queue, message, message_id in sorted(turns):
            try:
                decoded = Message.decode((message or "").encode())
                assert isinstance(decoded.options, dict)
                assert isinstance(decoded.kwargs, dict)
                assert isinstance(decoded.actor_name, str)
            except (DecodeError, AssertionError):
                log.error("message.unreadable", message_id=message_id, queue=queue)
                self._unreadable.append((worker_id, message_id, number))
                continue
            decoded = decoded.copy(queue_name=queue, message_id=message_id)  # the row is the truth
            self.room.take(queue)
            self._inboxes[queue].put(Delivery(decoded, next(self._order), number, worker_id))
        self._reject_unreadable(session)
        return len(rows) >= most

    def _reject_unreadable(self, session: Connection) -> None:
        """After the others were handed out: should it fail, they are not lost. It is tried again in the next round."""
        while self._unreadable:
            with autocommitting(session) as cursor:
                cursor.execute(REJECT, self._unreadable[0])
            self._unreadable.pop(0)

    def _wait(self, session: Connection | None) -> None:
        """Until a message is sent, room is made, or the tick is due."""
        seconds = max(0.0, self._next_tick - time.monotonic()) if session is not None else TICK_SECONDS
        sockets: list[Any] = [self._wake_read]
        connection = None if session is None else session.connection.driver_connection
        if connection is not None:
            if connection.notifies:  # it came with the answer to the claim, and may be later than what that saw
                connection.notifies.clear()
                return
            sockets.append(connection)
        select.select(sockets, [], [], seconds)
        with suppress(BlockingIOError):
            os.read(self._wake_read, 65536)
        if connection is not None:
            connection.poll()
            connection.notifies.clear()

    def _taken_out(self) -> Iterator[Delivery]:
        """What was claimed and handed to nobody."""
        for inbox in list(self._inboxes.values()):
            with suppress(Empty):
                while True:
                    delivery = inbox.get_nowait()
                    if delivery is not None:
                        yield delivery

    def give_back(self) -> None:
        """What was claimed and handed to nobody goes back to its queue."""
        for delivery in self._taken_out():
            self._settlements.end(delivery, QUEUED)

    def stop(self, seconds: float) -> None:
        self._ended = True
        self.poke()
        self.join(seconds)
