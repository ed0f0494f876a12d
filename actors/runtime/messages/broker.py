"""Dramatiq's broker on dramatiq-pg's table, with our own claims, acks and sends.

The table and the messages are dramatiq-pg's: a stock process may send to our workers. Do not run its consumers beside
ours: they would take messages that we hold.
"""

import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

import dramatiq
import structlog
from dramatiq.common import current_millis, dq_name
from dramatiq.middleware import (
    AgeLimit,
    Callbacks,
    MiddlewareError,
    Pipelines,
    Retries,
    ShutdownNotifications,
    SkipMessage,
    TimeLimit,
)
from dramatiq_pg import PostgresBroker
from sqlalchemy import Engine

from actors.runtime.messages.acks import Acks
from actors.runtime.messages.consumer import Consumer
from actors.runtime.messages.delivery import Delivery, Outcome
from actors.runtime.messages.enqueue import enqueue_messages
from actors.runtime.messages.fetcher import Fetcher
from actors.runtime.messages.format import encode
from actors.runtime.messages.inboxes import Inbox

log = structlog.get_logger("longhaul.queue")

TIME_LIMIT_SLACK_SECONDS = 900  # beyond a job's cap: ten failures in a row, each after a timeout, take ten minutes

# Dramatiq's default middleware, except Prometheus, which would open a port; and the ones that send messages.
MIDDLEWARE = (AgeLimit, TimeLimit, ShutdownNotifications, Callbacks, Pipelines, Retries)
SENDING_ON = (Callbacks, Pipelines, Retries)


class Broker(PostgresBroker):  # type: ignore[misc]
    def __init__(
        self,
        engine: Engine,
        fetcher: Fetcher | None = None,
        acks: Acks | None = None,
        middleware: Sequence[Any] = (),
        decide: Callable[[Delivery], Outcome] = lambda _delivery: Outcome.RUN,
    ) -> None:
        """Without a fetcher, it only sends, from any process: `Broker(engine)`."""
        self._heard: dict[str, list[tuple[Any, Callable[..., None]]]] = {}  # who listens to a signal
        # dramatiq-pg needs a pool; it is never used, because we replace everything that would use it.
        super().__init__(pool=engine.pool, results=False, middleware=[*middleware, *(made() for made in MIDDLEWARE)])
        self.engine = engine
        self.acks = acks or Acks(engine)
        self.long_queues: set[str] = set()
        self._decide = decide
        self.fetcher = fetcher
        if fetcher is not None:
            fetcher.actors = self.actors

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 30000) -> Consumer:
        if self.fetcher is None:
            raise RuntimeError("this broker has no fetcher: it only sends")
        if queue_name in self.delay_queues:  # delayed messages stay in the table until they are due
            inbox: Inbox = SimpleQueue()
        else:
            inbox = self.fetcher.serve(queue_name, long=queue_name in self.long_queues)
        return Consumer(inbox, self.acks, self.fetcher.finish, timeout / 1000)

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Decides whether a message is processed at all, before any middleware sees it."""
        delivery = args[0] if args else None
        if isinstance(delivery, Delivery):
            if signal == "process_message":
                delivery.outcome = self._decide(delivery)
                if delivery.outcome is not Outcome.RUN:
                    raise SkipMessage
                delivery.thread, delivery.begun_at = threading.current_thread(), time.monotonic()
            elif delivery.outcome is not Outcome.RUN:
                return
        for middleware, call in self._listeners(f"before_{signal}"):
            try:
                call(self, *args, **kwargs)
            except MiddlewareError:
                raise
            except Exception:  # as in Dramatiq: the message is processed even if a middleware fails
                log.exception("middleware.failed", middleware=type(middleware).__name__, signal=f"before_{signal}")

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """A retry, callback or next step of a pipeline that can't be sent is not lost.

        A requeue is not a skip: no middleware sees a message that was never processed.
        """
        delivery = args[0] if args and isinstance(args[0], Delivery) else None
        if delivery is not None:
            if delivery.outcome is not Outcome.RUN:
                return
            if signal == "process_message":
                delivery.seconds = time.monotonic() - delivery.begun_at
        for middleware, call in reversed(self._listeners(f"after_{signal}")):
            try:
                call(self, *args, **kwargs)
            except Exception as error:
                log.exception("middleware.failed", middleware=type(middleware).__name__, signal=f"after_{signal}")
                if signal == "process_message" and delivery is not None and isinstance(middleware, SENDING_ON):
                    delivery.follow_up_error = delivery.follow_up_error or error

    def add_middleware(self, *args: Any, **kwargs: Any) -> None:
        self._heard = {}
        super().add_middleware(*args, **kwargs)

    def _listeners(self, name: str) -> list[tuple[Any, Callable[..., None]]]:
        """The middleware that handles this signal: calling all of it costs a sixth of a short message."""
        found = self._heard.get(name)
        if found is None:
            silent = getattr(dramatiq.Middleware, name, None)
            named = [(one, getattr(one, name, None)) for one in self.middleware]
            found = [(one, call) for one, call in named if call and getattr(call, "__func__", call) is not silent]
            self._heard[name] = found
        return found

    def enqueue(self, message: "dramatiq.Message[Any]", *, delay: int | None = None) -> "dramatiq.Message[Any]":
        """Sends once; Postgres errors go to the caller. Inside in_transaction(): in the caller's transaction.

        A message that this process is processing, sent again under its id (a retry), is delivered again when this
        delivery ends. MessageError if another process is processing it, or if it can't be stored.
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

        Ten times faster than one by one; a few ten thousand at a time stay far below the limit of 30 s.
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
            delivery = self.fetcher.held.get(message.message_id) if self.fetcher else None
            if delivery is not None and not delivery.ended:
                delivery.next = (message.queue_name, body)
            else:
                rest.append((message.message_id, message.queue_name, body))
                if delivery is not None:
                    self.acks.flush()  # its ack may still wait to be written
        if rest:
            enqueue_messages(self.engine, rest)

    def declare_job(self, name: str, queue: str, cap_seconds: int, perform: Callable[[int], None]) -> None:
        """Declares the actor of a kind of job: it takes a job's id, and never makes Dramatiq retry."""
        self.long_queues.add(queue)
        if self.fetcher is not None:
            self.fetcher.job_actors.add(name)
        dramatiq.actor(
            perform,
            actor_name=name,
            queue_name=queue,
            broker=self,
            max_retries=0,
            time_limit=(cap_seconds + TIME_LIMIT_SLACK_SECONDS) * 1000,
        )
