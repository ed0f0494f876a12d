"""The queue: dramatiq-pg's broker on its own table, with one actor for each kind of job.

Messages are put in by SQL (functions/send_job_message.sql), in the transaction of the change that they tell of;
here they are only taken out.
"""

import time
from collections.abc import Callable
from threading import Event
from typing import Any

from dramatiq import Middleware, actor
from dramatiq.middleware import TimeLimit
from dramatiq_pg import PostgresBroker
from dramatiq_pg.broker import PostgresConsumer
from psycopg2.extensions import parse_dsn

from actors.runtime.config import Settings
from actors.runtime.kinds import Kind
from sql.engine import CLIENT_SETTINGS, libpq_url

TIME_LIMIT_SLACK_SECONDS = 900  # past a job's own cap: ten failures in a row, each after a timeout, take ten minutes


class Consumer(PostgresConsumer):  # type: ignore[misc]
    """Takes nothing more once the worker is stopping: it would swallow what its own jobs have just put back."""

    def __init__(self, stopping: Event, **options: Any) -> None:
        super().__init__(**options)
        self._stopping = stopping

    def __next__(self) -> Any:
        if self._stopping.is_set():
            time.sleep(0.1)
            return None
        return super().__next__()


class Broker(PostgresBroker):  # type: ignore[misc]
    def __init__(self, settings: Settings, stopping: Event, middleware: list[Middleware]) -> None:
        # A dict, for dramatiq-pg breaks URLs without a host.
        pool = parse_dsn(libpq_url(settings.DATABASE_URL)) | CLIENT_SETTINGS
        super().__init__(
            url={name: str(value) for name, value in pool.items()},
            results=False,
            middleware=[TimeLimit(), *middleware],
        )
        self._stopping = stopping

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 30000) -> Consumer:
        return Consumer(self._stopping, pool=self.pool, queue_name=queue_name, prefetch=prefetch, timeout=timeout)

    def add_kind(self, kind: Kind, cap_seconds: int, work_on: Callable[[int], None]) -> None:
        """Declares the Dramatiq actor of a kind: it takes a job's id, and never returns a failure to be retried."""
        actor(
            work_on,
            actor_name=kind.name,
            queue_name=kind.queue,
            broker=self,
            time_limit=(cap_seconds + TIME_LIMIT_SLACK_SECONDS) * 1000,
        )
