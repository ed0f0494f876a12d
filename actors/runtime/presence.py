"""A worker process's row in `workers`, and the session whose lock says that it is alive."""

import os
import socket
from threading import Event

import structlog
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from actors.runtime.config import Settings
from sql.locks import worker_lock

log = structlog.get_logger("longhaul.worker")

REGISTER = text("""
    INSERT INTO workers (hostname, pid, queues, release) VALUES (:hostname, :pid, :queues, :release) RETURNING id
""")


class Presence:
    """Alive as long as `beat` is called each second.

    A session that is lost takes the identity with it: jobs claimed under it are given back by the sweep, so the
    process registers anew.
    """

    def __init__(self, engine: Engine, settings: Settings, queues: list[str]) -> None:
        self._engine = engine
        self._settings = settings
        self._queues = queues
        self._connection: Connection | None = None
        self._worker_id = 0
        self._registered = Event()

    def worker_id(self) -> int:
        """The present identity; waits up to 10 s while the process has none."""
        if not self._registered.wait(10):
            raise TimeoutError("this worker is not registered: Postgres cannot be reached")
        return self._worker_id

    def beat(self) -> Connection:
        """Says that we are here; returns the session, outside a transaction, for the sweep to use."""
        if self._connection is not None and self._connection.invalidated:
            self.lose()  # else SQLAlchemy would reconnect, without the lock
        if self._connection is None:
            self._register()
        assert self._connection is not None
        try:
            with self._connection.begin():
                self._connection.execute(text("SELECT 1"))
        except DBAPIError:
            self.lose()
            raise
        return self._connection

    def _register(self) -> None:
        connection = self._engine.connect()
        try:
            with connection.begin():
                values = {
                    "hostname": socket.gethostname(),
                    "pid": os.getpid(),
                    "queues": self._queues,
                    "release": self._settings.RELEASE,
                }
                worker_id = connection.execute(REGISTER, values).scalar_one()
                # Held by the session, so past the commit; taken before it, so nobody sees us registered but dead.
                connection.execute(text("SELECT pg_advisory_lock(:space, :id)"), worker_lock(worker_id))
        except BaseException:
            connection.close()
            raise
        self._connection, self._worker_id = connection, worker_id
        self._registered.set()
        log.info("worker.start", worker_id=worker_id, queues=self._queues, pid=os.getpid())

    def lose(self) -> None:
        """Forgets the session and with it the identity."""
        self._registered.clear()
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def leave(self) -> None:
        """Signs off; the lock goes with the session."""
        if self._connection is not None:
            with self._connection.begin():
                self._connection.execute(
                    text("UPDATE workers SET stopped_at = now() WHERE id = :id"), {"id": self._worker_id}
                )
            self.lose()
