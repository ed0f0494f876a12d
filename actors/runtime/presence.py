"""A worker process's row in `workers`, and the session whose lock says that it is alive."""

import os
import socket
import time
from threading import Event

import structlog
from psycopg2.extensions import quote_ident
from sqlalchemy import Connection, Engine, event, text

from actors.runtime.config import Settings
from sql.engine import keep_session
from sql.locks import worker_lock

log = structlog.get_logger("longhaul.worker")

SILENCE_SECONDS = 12
CLAIM_SECONDS = 10

REGISTER = text("""
    INSERT INTO workers (hostname, pid, queues, release) VALUES (:hostname, :pid, :queues, :release) RETURNING id
""")


class Presence:
    """Alive as long as its session says something at least every few seconds: the feeder's does, each second.

    A session that is lost takes the identity with it: what was claimed under it is given back by the sweep, so the
    process registers anew.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._connection: Connection | None = None
        self._registered = Event()
        self.queues: list[str] = []  # what the process listens to
        self.current = 0  # the present identity; 0 while there is none
        self._seen_at = 0.0  # when the feeder came by last, monotonic

    def worker_id(self) -> int:
        """The present identity; waits up to 10 s while the process has none."""
        if not self._registered.wait(10):
            raise TimeoutError("this worker is not registered: Postgres cannot be reached")
        return self.current

    def seen(self) -> bool:
        """Called in each round of the feeder. False: this process stood still so long that others think it dead."""
        fresh = self.is_fresh()
        self._seen_at = time.monotonic()
        return fresh

    def heard(self) -> None:
        """The server has answered on our session, so to the others we are alive: a slow server costs no identity.

        Not after a silence: then we have stood still, and they may think us dead already.
        """
        if self.is_fresh():
            self._seen_at = time.monotonic()

    def is_fresh(self) -> bool:
        """Others declare us dead after 15 s of silence (functions/live_workers.sql); we stop believing before that."""
        return time.monotonic() - self._seen_at < SILENCE_SECONDS

    def session(self) -> Connection:
        """The session, outside a transaction; registers when there is none."""
        if self._connection is not None and self._connection.invalidated:
            self.lose()  # else SQLAlchemy would reconnect, without the lock
        if self._connection is None:
            self._connection = self._register()
        return self._connection

    def _register(self) -> Connection:
        connection = self._engine.connect()
        try:
            with connection.begin():
                values = {
                    "hostname": socket.gethostname(),
                    "pid": os.getpid(),
                    "queues": self.queues,
                    "release": self._settings.RELEASE,
                }
                worker_id: int = connection.execute(REGISTER, values).scalar_one()
                # Held by the session, so past the commit; taken before it, so nobody sees us registered but dead.
                connection.execute(text("SELECT pg_advisory_lock(:space, :id)"), worker_lock(worker_id))
                connection.exec_driver_sql(
                    f"SET statement_timeout = '{CLAIM_SECONDS}s'"
                )  # others must not think us silent
                for queue in self.queues:
                    channel = quote_ident(f"dramatiq.{queue}.enqueue", connection.connection.driver_connection)
                    connection.exec_driver_sql(f"LISTEN {channel}")
        except BaseException:
            connection.close()
            raise
        keep_session(connection)
        event.listen(connection, "after_cursor_execute", lambda *_: self.heard())
        self.current = worker_id
        self._seen_at = time.monotonic()
        self._registered.set()
        log.info("worker.start", worker_id=worker_id, queues=self.queues, pid=os.getpid())
        return connection

    def lose(self) -> None:
        """Forgets the session and with it the identity."""
        self._registered.clear()
        self.current = 0
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def leave(self) -> None:
        """Signs off; the lock goes with the session."""
        if self._connection is not None:
            with self._connection.begin():
                self._connection.execute(
                    text("UPDATE workers SET stopped_at = now() WHERE id = :id"), {"id": self.current}
                )
            self.lose()
