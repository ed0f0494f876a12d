"""The fetcher: one thread and one session per process, for all queues.

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
from collections.abc import Callable, Container, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any, NamedTuple

import psycopg2
import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from actors.runtime.base.errors import MessageError
from actors.runtime.base.failures import describe, is_transient
from actors.runtime.messages.acks import QUEUED, REJECTED, Ack, Acks, plain
from actors.runtime.messages.delivery import Delivery
from actors.runtime.messages.format import decode
from actors.runtime.messages.identity import Identity
from actors.runtime.messages.prefetch import Prefetch
from sql.engine import autocommitting

log = structlog.get_logger("longhaul.worker")

TICK_SECONDS = 1.0

CLAIM = """
    SELECT seq, delivery, queue_name, message_id::text, losses, message
    FROM public.claim_messages(%s::integer, %s::text[], %s::integer[], %s::bigint[], %s::integer, %s::integer)
"""

WATCH_CLOCK = "SELECT public.watch_clock()"  # and something must be said each second


class Claimed(NamedTuple):
    seq: int
    number: int
    queue: str
    message_id: str
    losses: int
    message: str | None


class Fetcher(Thread):
    def __init__(
        self,
        identity: Identity,
        acks: Acks,
        stopping: Event,
        threads: int,
        tick: Callable[[], None] = lambda: None,  # each second; touches no database
    ) -> None:
        super().__init__(name="fetcher", daemon=True)
        self.prefetch = Prefetch(threads)
        self.held: dict[str, Delivery] = {}  # by message id: claimed, and its end not written yet
        self.actors: Container[str] = ()  # the names of those that this process has
        self.job_actors: set[str] = set()
        self.is_paused: Callable[[], bool] = lambda: False
        self._identity = identity
        self._acks = acks
        acks.on_written = self.finish  # not before: what is not written yet is still in our hands
        self._stopping = stopping
        self._tick = tick
        self._next_tick = 0.0
        self._long: list[str] = []
        self._short: list[str] = []
        self._inboxes: dict[str, SimpleQueue[Delivery | None]] = {}
        self._afters: dict[str, int] = defaultdict(int)  # look above what was claimed last: cheap under an old snapshot
        self._order = count()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._ended = False

    def left_by(self, thread: Thread) -> list[Delivery]:
        """What a thread that has died was working on."""
        return [delivery for delivery in list(self.held.values()) if delivery.thread is thread]

    def serve(self, queue: str, *, long: bool) -> "SimpleQueue[Delivery | None]":
        """From now on messages of this queue are claimed; they arrive in the queue that is returned."""
        if queue not in self._inboxes:
            self._inboxes[queue] = SimpleQueue()
            (self._long if long else self._short).append(queue)
            self.wake()
        return self._inboxes[queue]

    def finish(self, delivery: Delivery) -> None:
        """It is not in our hands any more: there is room for another."""
        if delivery.finished:
            return
        delivery.finished = True
        if self.held.get(delivery.message_id) is delivery:
            del self.held[delivery.message_id]
        self.prefetch.release(delivery.queue_name, delivery.seconds)
        if delivery.was_lost or delivery.queue_name in self._long or self.prefetch.for_short(delivery.queue_name):
            self.wake()

    def wake(self) -> None:
        with suppress(BlockingIOError, OSError):
            os.write(self._wake_write, b".")

    def run(self) -> None:
        try:
            while not self._ended:
                self._survive_one_round()
        finally:
            if not self._ended:  # a process that lives but takes nothing would be the worst of all
                log.critical("fetcher.died")
                os.kill(os.getpid(), signal.SIGTERM)

    def _survive_one_round(self) -> None:
        session = None
        try:
            session = self._identity.session()
            self._round(session)
        except Exception as error:
            known = isinstance(error, DBAPIError | psycopg2.Error | TimeoutError)
            told = describe(error)
            if known and session is not None and not session.invalidated and not session.connection.closed:
                log.warning("fetcher.failed", error=told)  # a lock timeout, say: the session still holds our lock
                self._wait(None)
                return
            # The identity goes with the session. What it had claimed and nobody began is dropped; the sweep of any
            # worker, our next identity among them, puts it back. So it does with what a bug of ours has claimed.
            log.warning("fetcher.lost", error=told, exc_info=None if known else error)
            self._lose()
            self._wait(None)

    def _lose(self) -> None:
        self._identity.drop()
        for delivery in self._taken_out():
            self.finish(delivery)

    def _round(self, session: Connection) -> None:
        if not self._identity.is_fresh():
            log.warning("fetcher.lost", error="this process stood still for too long")
            self._lose()  # before anybody may take us for fresh again
            return
        self._identity.seen()
        if time.monotonic() >= self._next_tick:
            self._next_tick = time.monotonic() + TICK_SECONDS
            self._afters.clear()  # perhaps older ones have come back: look from the start
            self._tick()
            with autocommitting(session) as cursor:
                cursor.execute(WATCH_CLOCK)
        self._identity.listen(list(self._inboxes))
        if self._stopping.is_set() or self.is_paused():
            if self.is_paused():
                self.give_back()
            self._wait(session)
        elif not self._claim(session):
            self._wait(session)

    def _claim(self, session: Connection) -> bool:
        """Claims what there is room for; True when there may be more."""
        more = False
        if self._long:
            most = self.prefetch.for_long(self._long, beside_short=bool(self._short))
            more |= self._claim_from(session, {queue: most for queue in self._long if most}, most)
        limits = {queue: room for queue in self._short if (room := self.prefetch.for_short(queue))}
        if limits and (not self._long or self.prefetch.for_long(self._long, beside_short=False)):
            more |= self._claim_from(session, limits, sum(limits.values()))
        return more

    def _claim_from(self, session: Connection, limits: dict[str, int], most: int) -> bool:
        if not limits:
            return False
        names = random.sample(list(limits), len(limits))  # nobody is always first, not even for a single free thread
        afters = [self._afters[name] for name in names]
        lost = 0 if any(delivery.was_lost for delivery in list(self.held.values())) else 1
        worker_id = self._identity.worker_id()
        with autocommitting(session) as cursor:
            cursor.execute(CLAIM, (worker_id, names, [limits[name] for name in names], afters, most, lost))
            rows = [Claimed(*row) for row in cursor.fetchall()]
        self._identity.seen()  # the server has answered on our session: to the others we are alive
        self._hand_out(in_turn(rows), worker_id)
        return len(rows) >= most

    def _hand_out(self, rows: list[Claimed], worker_id: int) -> None:
        """To the threads that wait; what is no message is rejected, and costs the others nothing."""
        for place, row in enumerate(rows):
            if not row.losses:
                self._afters[row.queue] = max(row.seq, self._afters[row.queue])
            try:
                message = decode(row.message, row.queue, row.message_id, self.actors)
                if message.actor_name in self.job_actors:
                    message = replace(message, options={})  # no sender may say how a job is run
                delivery = Delivery(message, next(self._order), row.number, worker_id, was_lost=row.losses > 0)
            except MessageError as error:
                self._reject(row, worker_id, str(error)[:500])
                continue
            except BaseException:  # memory, say: these have been claimed, so they must not be forgotten
                for left in rows[place:]:
                    self._end(Ack(worker_id, left.message_id, left.number, left.queue, QUEUED))
                raise
            self.held[row.message_id] = delivery
            self.prefetch.acquire(row.queue)
            self._inboxes[row.queue].put(delivery)

    def _reject(self, row: Claimed, worker_id: int, reason: str) -> None:
        log.error("message.rejected", message_id=row.message_id, queue=row.queue, reason=reason)
        self._end(Ack(worker_id, row.message_id, row.number, row.queue, REJECTED, reason=plain(reason)))

    def _end(self, ack: Ack) -> None:
        try:
            self._acks.add(ack)
        except Exception as error:  # it is kept, and written with the next one or within a second
            bug = None if is_transient(error) else error
            log.warning("ack.delayed", message_id=ack.message_id, error=describe(error), exc_info=bug)

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
            self._acks.add(Ack.of(delivery, QUEUED))

    def stop(self, seconds: float) -> None:
        self._ended = True
        self.wake()
        self.join(seconds)


def in_turn(rows: list[Claimed]) -> list[Claimed]:
    """Oldest first within a queue, turn by turn between them."""
    found: dict[str, int] = defaultdict(int)
    turns = []
    for row in sorted(rows, key=lambda row: row.seq):
        found[row.queue] += 1
        turns.append((found[row.queue], row.seq, row))
    return [row for _, _, row in sorted(turns, key=lambda turn: turn[:2])]
