"""Who keeps a batch waiting for a lock? Asked while it waits: after the timeout, Postgres no longer knows."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine, text

LONG_SECONDS = 1  # a batch that has been in its transaction for longer is checked
LOOK_SECONDS = 1

# The session is found by this name: functions/why/why_running.sql. A later run of the process gives it another one.
INTRODUCE = text("SELECT pg_backend_pid() FROM set_config('application_name', :name, false)")
NAME = "longhaul worker, job {job_id}/{attempt}"

# A row for each transaction that still goes on, even if nobody blocks it. After an error it does not: the wait is over,
# and whoever was seen last is to blame. If several block it, it is the one with the oldest transaction. A prepared
# transaction has no session, and pid 0.
BLOCKERS = text("""
    SELECT DISTINCT ON (waiting) waiting, b.pid,
           extract(epoch FROM clock_timestamp() - session.xact_start)::integer AS seconds,
           session.application_name AS application, left(session.query, 200) AS query
    FROM pg_catalog.unnest(CAST(:waiting AS integer[])) AS waiting
    JOIN pg_stat_activity own ON own.pid = waiting
    LEFT JOIN LATERAL pg_catalog.unnest(pg_blocking_pids(waiting)) AS b (pid) ON true
    LEFT JOIN pg_stat_activity session ON session.pid = b.pid
    WHERE coalesce(own.state, '') NOT IN ('idle', 'idle in transaction (aborted)')
    ORDER BY waiting, session.xact_start NULLS LAST
""")


@dataclass(frozen=True)
class Blocker:
    pid: int
    seconds: int | None  # the age of its transaction; None if we may not see it
    application: str | None
    query: str | None

    def __str__(self) -> str:
        """For everybody: other details may belong to another tenant, and go to the log only."""
        if not self.pid:
            return "blocked by a prepared transaction (see pg_prepared_xacts)"
        age = "" if self.seconds is None else f", whose transaction is {self.seconds} s old"
        return f"blocked by the session with the pid {self.pid}{age}"


@dataclass(eq=False)
class Wait:
    """A batch in its transaction, and who blocks it."""

    pid: int
    began: float
    blocker: Blocker | None = None
    _is_doubtful: bool = False  # the last look found nobody

    def saw(self, blocker: Blocker | None) -> None:
        """Forgets a blocker at the second look without one: during the first, a time limit may be ending the wait."""
        if blocker is None and self.blocker and not self._is_doubtful:
            self._is_doubtful = True
        else:
            self.blocker, self._is_doubtful = blocker, False


@dataclass
class Waits:
    """The waits of a worker process; each thread adds and removes its own."""

    _open: dict[int, Wait] = field(default_factory=dict)

    @contextmanager
    def noted(self, wait: Wait) -> Iterator[None]:
        self._open[id(wait)] = wait
        try:
            yield
        finally:
            del self._open[id(wait)]

    def look(self, engine: Engine) -> None:
        """Asks once for all batches that take long. They do not wait for it."""
        since = time.monotonic() - LONG_SECONDS
        waits = [wait for wait in self._open.copy().values() if wait.began < since]
        if not waits:
            return
        with engine.begin() as connection:
            found = _blockers(connection, [wait.pid for wait in waits])
        for wait in waits:
            if wait.pid in found:
                wait.saw(found[wait.pid])


def _blockers(connection: Connection, pids: list[int]) -> dict[int, Blocker | None]:
    connection.execute(text("SET LOCAL statement_timeout = '1s'"))
    rows = connection.execute(BLOCKERS, {"waiting": pids})
    return {
        row.waiting: None if row.pid is None else Blocker(row.pid, row.seconds, row.application, row.query)
        for row in rows
    }
