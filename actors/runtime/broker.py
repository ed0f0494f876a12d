"""Dramatiq's broker on dramatiq-pg's table, with our own way of claiming, ending and sending messages.

The table and the messages are dramatiq-pg's: a stock process may send to our workers. Its consumers must not run
beside ours: they would take messages that we hold.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from queue import Empty, SimpleQueue
from typing import Any

import dramatiq
import structlog
from dramatiq.common import current_millis, dq_name
from dramatiq.middleware import AgeLimit, Callbacks, Pipelines, Retries, ShutdownNotifications, SkipMessage, TimeLimit
from dramatiq_pg import PostgresBroker
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from actors.runtime.acks import DONE, QUEUED, REJECTED, Ack, Acks
from actors.runtime.delivery import Delivery, Outcome
from actors.runtime.errors import MessageError
from actors.runtime.failures import is_transient, sentence, sqlstate
from actors.runtime.fetcher import Fetcher
from actors.runtime.kinds import Kind
from actors.runtime.message_json import encode
from sql.engine import autocommitting

log = structlog.get_logger("longhaul.queue")

TIME_LIMIT_SLACK_SECONDS = 900  # past a job's own cap: ten failures in a row, each after a timeout, take ten minutes

ENQUEUE = "SELECT public.enqueue_messages(%s::uuid[], %s::text[], %s::jsonb[])"
BEING_PROCESSED = "LH409"  # what that function says of a copy of such a message

LOOK_UP_SECONDS = 0.2  # how often a thread that waits looks whether it shall stop; Dramatiq's 1 s adds up at shutdown

# Dramatiq's default middleware, but for Prometheus, which would open a port; and which of it sends on.
MIDDLEWARE = (AgeLimit, TimeLimit, ShutdownNotifications, Callbacks, Pipelines, Retries)
SENDING_ON = (Callbacks, Pipelines, Retries)

_joined: ContextVar[Connection | None] = ContextVar("_joined", default=None)


@contextmanager
def joined(connection: Connection) -> Iterator[None]:
    """Messages that are sent inside belong to the transaction of `connection`: they exist when it commits, or never."""
    token = _joined.set(connection)
    try:
        yield
    finally:
        _joined.reset(token)


class Consumer(dramatiq.Consumer):
    """One queue's end of the fetcher."""

    def __init__(self, inbox: "SimpleQueue[Delivery | None]", broker: "Broker", timeout: int) -> None:
        self._inbox = inbox
        self._broker = broker
        self._timeout = min(timeout / 1000, LOOK_UP_SECONDS)

    def __next__(self) -> Delivery | None:
        try:
            return self._inbox.get(timeout=self._timeout)
        except Empty:
            return None

    def ack(self, message: Delivery) -> None:
        self._broker.end(message, DONE)

    def nack(self, message: Delivery) -> None:
        self._broker.end(message, REJECTED)

    def requeue(self, messages: Iterator[Delivery]) -> None:
        for message in messages:
            self._broker.end(message, QUEUED)


class Broker(PostgresBroker):  # type: ignore[misc]
    def __init__(
        self,
        engine: Engine,
        fetcher: Fetcher | None,
        acks: Acks,
        middleware: list[Any],
        decide: Callable[[Delivery], Outcome] = lambda _delivery: Outcome.RUN,
    ) -> None:
        # dramatiq-pg wants a pool; it is never used, for all that would use it is ours.
        super().__init__(pool=engine.pool, results=False, middleware=[*middleware, *(made() for made in MIDDLEWARE)])
        self.engine = engine
        self.acks = acks
        self.long_queues: set[str] = set()
        self._decide = decide
        self.fetcher = fetcher  # None where messages are only sent
        if fetcher is not None:
            fetcher.actors = self.actors

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 30000) -> Consumer:
        if queue_name in self.delay_queues:  # delayed messages stay in the table until they are due
            return Consumer(SimpleQueue(), self, timeout)
        if self.fetcher is None:
            raise RuntimeError("this broker only sends")
        return Consumer(self.fetcher.serve(queue_name, long=queue_name in self.long_queues), self, timeout)

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Before any middleware hears of a message it is decided whether it is begun at all."""
        delivery = args[0] if args else None
        if isinstance(delivery, Delivery):
            if signal == "process_message":
                delivery.outcome = self._decide(delivery)
                if delivery.outcome is not Outcome.RUN:
                    raise SkipMessage
                delivery.thread, delivery.begun_at = threading.current_thread(), time.monotonic()
            elif delivery.outcome is not Outcome.RUN:
                return
        super().emit_before(signal, *args, **kwargs)

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        delivery = args[0] if args else None
        if not isinstance(delivery, Delivery) or (delivery.outcome is Outcome.RUN and signal != "process_message"):
            super().emit_after(signal, *args, **kwargs)
        elif delivery.outcome is Outcome.RUN:
            self._after_process_message(delivery, **kwargs)
        # Else it was never begun: to be given back is no skip, and no middleware has to hear of it.

    def _after_process_message(self, delivery: Delivery, **outcome: Any) -> None:
        """As Dramatiq does it, but a retry, callback or next step of a pipeline that can't be sent is not forgotten."""
        for middleware in reversed(self.middleware):
            try:
                middleware.after_process_message(self, delivery, **outcome)
            except Exception as error:
                log.exception("middleware.failed", middleware=type(middleware).__name__, message_id=delivery.message_id)
                if isinstance(middleware, SENDING_ON) and delivery.follow_up_error is None:
                    delivery.follow_up_error = error

    def end(self, delivery: Delivery, state: str) -> None:
        """Called once for each delivery, with what Dramatiq makes of it."""
        delivery.ended = True
        if delivery.outcome is Outcome.DROP and self.fetcher:
            self.fetcher.finish(delivery)
            return
        try:
            self.acks.add(self._ack(delivery, state))
        except Exception as error:  # it is kept, and written with the next one or within a second
            bug = None if is_transient(error) else error
            log.warning("ack.delayed", message_id=delivery.message_id, error=sentence(error), exc_info=bug)

    def _ack(self, delivery: Delivery, state: str) -> Ack:
        if delivery.outcome is Outcome.REQUEUE or state == QUEUED:
            return Ack.of(delivery, QUEUED)
        error = delivery.follow_up_error
        if error is not None and is_transient(error):
            return Ack.of(delivery, QUEUED)  # it is processed once more: better twice than half
        if error is None and delivery.next is not None:
            queue, body = delivery.next
            return Ack.of(delivery, QUEUED, body)._replace(queue_name=queue)
        if error is None and state == DONE:
            return Ack.of(delivery, DONE)
        cause = error or delivery.failure
        reason = None if cause is None else sentence(cause)
        try:
            body = encode(delivery)  # what its middleware noted on it, the traceback above all
        except MessageError as unwritable:
            return Ack.of(delivery, REJECTED, None, reason or str(unwritable)[:500])
        return Ack.of(delivery, REJECTED, body, reason)

    def enqueue(self, message: "dramatiq.Message[Any]", *, delay: int | None = None) -> "dramatiq.Message[Any]":
        """Sends once; an error of Postgres is the caller's to know. Inside joined(): in the caller's transaction.

        A message that this process works on, sent under its own id (a retry), becomes its next delivery when this one
        ends. While another process works on it, that is an error. MessageError also for what can't be stored.
        """
        if delay:
            message = message.copy(queue_name=dq_name(message.queue_name))
            message.options["eta"] = current_millis() + delay
        self.emit_before("enqueue", message, delay)
        self._send([message])
        self.emit_after("enqueue", message, delay)
        return message

    def enqueue_many(self, messages: "Sequence[dramatiq.Message[Any]]") -> None:
        """Sends all of them or none, in one statement: `broker.enqueue_many([actor.message(n) for n in numbers])`.

        Ten times faster than one by one; some ten thousands at a time stay far from the limit of 30 s.
        """
        for message in messages:
            self.emit_before("enqueue", message, None)
        self._send(list({message.message_id: message for message in messages}.values()))
        for message in messages:
            self.emit_after("enqueue", message, None)

    def _send(self, messages: "Sequence[dramatiq.Message[Any]]") -> None:
        bodies = [encode(message) for message in messages]
        rest = []
        for message, body in zip(messages, bodies, strict=True):
            delivery = self.fetcher.in_hand.get(message.message_id) if self.fetcher else None
            if delivery is not None and not delivery.ended:
                delivery.next = (message.queue_name, body)
            else:
                rest.append((message.message_id, message.queue_name, body))
                if delivery is not None:
                    self.acks.flush()  # its end may still wait to be written
        if rest:
            self._insert(*(list(column) for column in zip(*rest, strict=True)))

    def _insert(self, *columns: list[str]) -> None:
        try:
            if connection := _joined.get():
                connection.exec_driver_sql(ENQUEUE, columns)
                return
            with self.engine.connect() as connection, autocommitting(connection):
                connection.exec_driver_sql(ENQUEUE, columns)
        except DBAPIError as error:
            if sqlstate(error) == BEING_PROCESSED:
                raise MessageError(sentence(error)) from error
            raise

    def add_kind(self, kind: Kind, cap_seconds: int, work_on: Callable[[int], None]) -> None:
        """Declares the Dramatiq actor of a kind: it takes a job's id, and never returns a failure to be retried."""
        self.long_queues.add(kind.queue)
        dramatiq.actor(
            work_on,
            actor_name=kind.name,
            queue_name=kind.queue,
            broker=self,
            max_retries=0,
            time_limit=(cap_seconds + TIME_LIMIT_SLACK_SECONDS) * 1000,
        )
