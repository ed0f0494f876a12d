"""Dramatiq's broker on dramatiq-pg's table, with our own way of claiming, ending and sending messages.

The table and the messages are dramatiq-pg's: a stock process may send to our workers. Its consumers must not run
beside ours: they would take messages that we hold.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from queue import Empty, SimpleQueue
from typing import Any

import dramatiq
import structlog
from dramatiq.common import current_millis, dq_name
from dramatiq.middleware import Retries, TimeLimit
from dramatiq_pg import PostgresBroker
from sqlalchemy import Connection, Engine

from actors.runtime.delivery import DONE, QUEUED, REJECTED, Delivery, Settlements, as_json
from actors.runtime.failures import sentence
from actors.runtime.feeder import Feeder
from actors.runtime.kinds import Kind
from sql.engine import autocommitting

log = structlog.get_logger("longhaul.queue")

TIME_LIMIT_SLACK_SECONDS = 900  # past a job's own cap: ten failures in a row, each after a timeout, take ten minutes

ENQUEUE = "SELECT public.enqueue_messages(%s::uuid[], %s::text[], %s::jsonb[], %s, %s)"

in_hand: ContextVar[Delivery | None] = ContextVar("in_hand", default=None)  # what this thread is working on
_joined: ContextVar[Connection | None] = ContextVar("_joined", default=None)


@contextmanager
def joined(connection: Connection) -> Iterator[None]:
    """Messages that are sent inside belong to the transaction of `connection`: they exist when it commits, or never."""
    token = _joined.set(connection)
    try:
        yield
    finally:
        _joined.reset(token)


LOOK_UP_SECONDS = 0.2  # how often a thread that waits looks whether it shall stop; Dramatiq's 1 s adds up at shutdown


class Consumer(dramatiq.Consumer):
    """One queue's end of the feeder."""

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
        self._end(message, QUEUED if message.returned else DONE)

    def nack(self, message: Delivery) -> None:
        self._end(message, REJECTED)

    def requeue(self, messages: Iterator[Delivery]) -> None:
        for message in messages:
            self._end(message, QUEUED)

    def _end(self, message: Delivery, state: str) -> None:
        if message.void:
            self._broker.feeder.finish(message)
            return
        try:
            self._broker.settlements.end(message, state)
        except Exception as error:  # it is kept, and written with the next one or within a second
            log.warning("settlement.delayed", message_id=message.message_id, error=sentence(error))


class Broker(PostgresBroker):  # type: ignore[misc]
    def __init__(self, engine: Engine, feeder: Feeder | None, settlements: Settlements, middleware: list[Any]) -> None:
        # dramatiq-pg wants a pool; it is never used, for all that would use it is ours.
        super().__init__(pool=engine.pool, results=False, middleware=[*middleware, TimeLimit(), Retries()])
        self.engine = engine
        self.settlements = settlements
        self.long_queues: set[str] = set()
        if feeder is not None:
            self.feeder = feeder

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 30000) -> Consumer:
        if queue_name in self.delay_queues:  # delayed messages stay in the table until they are due
            return Consumer(SimpleQueue(), self, timeout)
        return Consumer(self.feeder.serve(queue_name, long=queue_name in self.long_queues), self, timeout)

    def enqueue(self, message: "dramatiq.Message[Any]", *, delay: int | None = None) -> "dramatiq.Message[Any]":
        """Sends once; an error of Postgres is the caller's to know. Inside joined(): in the caller's transaction."""
        if delay:
            message = message.copy(queue_name=dq_name(message.queue_name))
            message.options["eta"] = current_millis() + delay
        self.emit_before("enqueue", message, delay)
        sender = in_hand.get()
        if sender is None or sender.message_id != message.message_id:
            self._send([message])
        else:
            try:
                self._send([message], sender.worker_id, sender.number)
            except BaseException:
                sender.returned = True  # the retry could not be sent: Dramatiq goes on to ack, which gives it back
                raise
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

    def _send(
        self,
        messages: "Sequence[dramatiq.Message[Any]]",
        worker_id: int | None = None,
        delivery: int | None = None,
    ) -> None:
        values = (
            [message.message_id for message in messages],
            [message.queue_name for message in messages],
            [as_json(message) for message in messages],
            worker_id,
            delivery,
        )
        if connection := _joined.get():
            connection.exec_driver_sql(ENQUEUE, values)
            return
        with self.engine.connect() as connection, autocommitting(connection):
            connection.exec_driver_sql(ENQUEUE, values)

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
