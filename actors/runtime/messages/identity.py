"""A worker process's row in `workers`, and the session whose lock proves it alive."""

import os
import socket
import time
from collections.abc import Sequence
from threading import Event

import structlog
from psycopg2.extensions import quote_ident
from sqlalchemy import Connection, Engine, event, text

from actors.runtime.base.config import Settings
from sql.engine import autocommitting, keep_session

log = structlog.get_logger("longhaul.worker")

SILENCE_SECONDS = 12  # less than in live_workers.sql, so that we notice before the others do
CLAIM_SECONDS = 10
WAIT_SECONDS = 10

REGISTER = text("""
    INSERT INTO workers (hostname, pid, queues, release, kinds)
    VALUES (:hostname, :pid, :queues, :release, :kinds) RETURNING id
""")

LOCK = text("SELECT pg_advisory_lock(public.worker_lock_space(), :id)")

QUEUES = text("UPDATE workers SET queues = :queues WHERE id = :id")


class Identity:
    """Alive as long as its session is active at least every few seconds: the fetcher's is, each second.

    If the session is lost, so is the identity: the sweep puts back what was claimed under it, and the process
    registers again.
    """

    def __init__(self, engine: Engine, settings: Settings, kinds: Sequence[str] = ()) -> None:
        self._engine = engine
        self._settings = settings
        self._kinds = list(kinds)
        self._connection: Connection | None = None
        self._registered = Event()
        self.queues: list[str] = []  # that the process listens to
        self.current = 0  # the current identity; 0: none
        self._seen_at = 0.0  # when the fetcher last reported

    def worker_id(self) -> int:
        """The current identity; waits up to 10 s if the process has none."""
        deadline = time.monotonic() + WAIT_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            if self._registered.wait(left) and (current := self.current):  # 0: it was lost in between
                return current
        raise TimeoutError("this worker is not registered: Postgres cannot be reached")

    def seen(self) -> None:
        """The process has reported, or the server has responded. Not after a silence: others may consider it dead."""
        if self.is_fresh():
            self._seen_at = _now()

    def is_fresh(self) -> bool:
        """Others declare us dead after 15 s of silence; we give up before that."""
        return _now() - self._seen_at < SILENCE_SECONDS

    def session(self) -> Connection:
        """The session, outside a transaction; registers if there is none."""
        if self._connection is not None and self._connection.invalidated:
            self.drop()  # otherwise SQLAlchemy would reconnect, without the lock
        if self._connection is None:
            self._connection = self._register()
        return self._connection

    def listen(self, queues: list[str]) -> None:
        """Listens to these queues too, which were declared later."""
        new = [name for name in queues if name not in self.queues]
        if new and self._connection is not None:
            with autocommitting(self._connection) as cursor:
                for name in new:
                    cursor.execute(f"LISTEN {quote_ident(_channel(name), cursor)}")
            self.queues = [*self.queues, *new]
            with self._connection.begin():
                self._connection.execute(QUEUES, {"queues": self.queues, "id": self.current})

    def _register(self) -> Connection:
        connection = self._engine.connect()
        try:
            with connection.begin():
                values = {
                    "hostname": socket.gethostname(),
                    "pid": os.getpid(),
                    "queues": self.queues,
                    "release": self._settings.RELEASE,
                    "kinds": self._kinds,
                }
                worker_id: int = connection.execute(REGISTER, values).scalar_one()
                # The session holds it beyond the commit; taken before it, so that nobody sees us registered but dead.
                connection.execute(LOCK, {"id": worker_id})
                connection.exec_driver_sql(
                    f"SET statement_timeout = '{CLAIM_SECONDS}s'"
                )  # others must not consider us silent
                for queue in self.queues:
                    channel = quote_ident(_channel(queue), connection.connection.driver_connection)
                    connection.exec_driver_sql(f"LISTEN {channel}")
        except BaseException:
            connection.close()
            raise
        keep_session(connection)
        event.listen(connection, "after_cursor_execute", lambda *_: self.seen())
        self._seen_at = _now()
        self.current = worker_id
        self._registered.set()
        log.info("worker.start", worker_id=worker_id, queues=self.queues, pid=os.getpid())
        return connection

    def drop(self) -> None:
        """Drops the session, and with it the identity."""
        self._registered.clear()
        self.current = 0
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def deregister(self) -> None:
        """Deregisters; the lock is released with the session."""
        if self._connection is not None:
            with self._connection.begin():
                self._connection.execute(
                    text("UPDATE workers SET stopped_at = now() WHERE id = :id"), {"id": self.current}
                )
            self.drop()


def _channel(queue: str) -> str:
    return f"dramatiq.{queue}.enqueue"


def _now() -> float:
    """In seconds; includes time suspended, if the machine's clock counts it."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
