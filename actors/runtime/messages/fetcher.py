"""The fetcher: one thread and one session per process, for all queues.

Its session holds the lock that proves this process alive, listens for new messages, and claims them: so a claim can
never outlive its identity. Between two claims it sleeps until a message is sent, a thread becomes free, or a second has
passed.
"""

import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Container
from dataclasses import replace
from itertools import count
from threading import Event, Thread

import psycopg2
import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from actors.runtime.base.errors import MessageError
from actors.runtime.base.failures import describe
from actors.runtime.messages.acks import QUEUED, REJECTED, Ack, Acks, plain
from actors.runtime.messages.claims import Claimed, claim_messages
from actors.runtime.messages.delivery import Delivery
from actors.runtime.messages.format import decode
from actors.runtime.messages.identity import Identity
from actors.runtime.messages.inboxes import Inbox, Inboxes
from actors.runtime.messages.prefetch import Prefetch
from actors.runtime.messages.wakeup import Wakeup
from sql.engine import autocommitting

log = structlog.get_logger("longhaul.worker")

TICK_SECONDS = 1.0
Limits = Callable[[list[str], list[str]], tuple[dict[str, int], int]]
WATCH_CLOCK = "SELECT public.watch_clock()"  # and keeps the session active each second


class Fetcher(Thread):
    def __init__(
        self,
        identity: Identity,
        acks: Acks,
        stopping: Event,
        threads: int,
        tick: Callable[[], None],  # called each second; must not use the database
    ) -> None:
        super().__init__(name="fetcher", daemon=True)
        self.prefetch = Prefetch(threads)
        self.held: dict[str, Delivery] = {}  # by message id: claimed, ack not written yet
        self.actors: Container[str] = ()  # the names of this process's actors
        self.job_actors: set[str] = set()
        self.is_paused: Callable[[], bool] = lambda: False
        self._identity = identity
        self._acks = acks
        acks.on_written = self.finish  # not before: until it is written, we hold the message
        self._stopping = stopping
        self._tick = tick
        self._next_tick = 0.0
        self._inboxes = Inboxes()
        self._afters: dict[str, int] = defaultdict(int)  # start above the last claim: cheap under an old snapshot
        self._order = count()
        self._wakeup = Wakeup()
        self._ended = False

    def left_by(self, thread: Thread) -> list[Delivery]:
        """What a dead thread was processing."""
        return [delivery for delivery in list(self.held.values()) if delivery.thread is thread]

    def serve(self, queue: str, *, long: bool) -> Inbox:
        """From now on, messages of this queue are claimed; they arrive in the returned inbox."""
        inbox = self._inboxes.open(queue, long=long)
        self._wakeup.wake()
        return inbox

    def finish(self, delivery: Delivery) -> None:
        """We no longer hold it: there is room for another."""
        if delivery.finished:
            return
        delivery.finished = True
        if self.held.get(delivery.message_id) is delivery:
            del self.held[delivery.message_id]
        queue = delivery.queue_name
        self.prefetch.release(queue, delivery.seconds)
        if delivery.was_lost or queue in self._inboxes.long or self.prefetch.for_short(queue):
            self._wakeup.wake()

    def run(self) -> None:
        try:
            while not self._ended:
                self._survive_one_round()
        finally:
            if not self._ended:  # a process that lives but takes no messages would be worse
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
                log.warning("fetcher.failed", error=told)  # e.g. a lock timeout: the session still holds our lock
            else:
                # The identity goes with the session. Messages that it claimed and no thread began are dropped; any
                # worker's sweep, ours included, puts them back, and also anything that a bug of ours has claimed.
                log.warning("fetcher.lost", error=told, exc_info=None if known else error)
                self._lose()
            self._wait(None)

    def _lose(self) -> None:
        self._identity.drop()
        for delivery in self._inboxes.taken_out():
            self.finish(delivery)

    def _round(self, session: Connection) -> None:
        if not self._identity.is_fresh():
            log.warning("fetcher.lost", error="this process was suspended for too long")
            self._lose()  # before others can take us for alive again
            return
        self._identity.seen()
        if time.monotonic() >= self._next_tick:
            self._next_tick = time.monotonic() + TICK_SECONDS
            self._afters.clear()  # older ones may have come back: look from the start
            self._tick()
            with autocommitting(session) as cursor:
                cursor.execute(WATCH_CLOCK)
        self._identity.listen(self._inboxes.names())
        if self.is_paused():
            self.give_back()
        if self._stopping.is_set() or self.is_paused() or not self._claim(session):
            self._wait(session)

    def _claim(self, session: Connection) -> bool:
        """Claims what there is room for; True if there may be more. Starts with long or short queues at random, so that
        neither always gets a lone thread.
        """
        sorts = [self.prefetch.long_limits, self.prefetch.short_limits]
        random.shuffle(sorts)
        first, second = (self._claim_from(session, look) for look in sorts)
        return first or second

    def _claim_from(self, session: Connection, look: Limits) -> bool:
        limits, most = look(self._inboxes.long, self._inboxes.short)
        if not limits:
            return False
        lost = 0 if any(delivery.was_lost for delivery in list(self.held.values())) else 1
        worker_id = self._identity.worker_id()
        rows = claim_messages(session, worker_id, limits, self._afters, most, lost)
        self._identity.seen()  # the server has responded on our session: to others we are alive
        self._hand_out(rows, worker_id)
        return len(rows) >= most

    def _hand_out(self, rows: list[Claimed], worker_id: int) -> None:
        """Hands them to waiting threads; an invalid message is rejected and affects no other."""
        for place, row in enumerate(rows):
            if not row.losses:
                self._afters[row.queue] = max(row.seq, self._afters[row.queue])
            try:
                message = decode(row.message, row.queue, row.message_id, self.actors)
                if message.actor_name in self.job_actors:
                    message = replace(message, options={})  # senders can't decide how a job is run
                delivery = Delivery(message, next(self._order), row.number, worker_id, was_lost=row.losses > 0)
            except MessageError as error:
                self._reject(row, worker_id, str(error)[:500])
                continue
            except BaseException:  # e.g. out of memory: these have been claimed, so they must not be lost
                for left in rows[place:]:
                    self._acks.add_or_retry(Ack(worker_id, left.message_id, left.number, left.queue, QUEUED))
                raise
            self.held[row.message_id] = delivery
            self.prefetch.acquire(row.queue)
            self._inboxes.put(delivery, row.queue)

    def _reject(self, row: Claimed, worker_id: int, reason: str) -> None:
        log.error("message.rejected", message_id=row.message_id, queue=row.queue, reason=reason)
        self._acks.add_or_retry(Ack(worker_id, row.message_id, row.number, row.queue, REJECTED, reason=plain(reason)))
        self._wakeup.wake()  # nothing has taken its room

    def _wait(self, session: Connection | None) -> None:
        """Sleeps until a message is sent, there is room, or the tick is due."""
        seconds = max(0.0, self._next_tick - time.monotonic()) if session is not None else TICK_SECONDS
        self._wakeup.wait(session, seconds)

    def give_back(self) -> None:
        """Puts messages that were claimed but not handed over back into their queues."""
        for delivery in self._inboxes.taken_out():
            self._acks.add(Ack.of(delivery, QUEUED))

    def stop(self, seconds: float) -> None:
        self._ended = True
        self._wakeup.wake()
        self.join(seconds)
