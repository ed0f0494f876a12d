"""Our advisory locks, except those of workers: for things that one process does at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text

SPACE = 1819242088  # the number after functions/workers/worker_lock_space.sql

RELEASE = {"space": SPACE, "id": 1}
SWEEP = {"space": SPACE, "id": 2}
RETENTION = {"space": SPACE, "id": 3}

TRY_LOCK = text("SELECT pg_try_advisory_lock(:space, :id)")
UNLOCK = text("SELECT pg_advisory_unlock(:space, :id)")
END_IF_SILENT = text("SET idle_session_timeout = '10s'")
KEEP_IF_SILENT = text("RESET idle_session_timeout")


@contextmanager
def holding(session: Connection, lock: dict[str, int]) -> Iterator[bool]:
    """Holds the lock for as long as the block runs, over any number of transactions; False if another session has it.

    While it does, the server ends the session after 10 s of silence: a process that is suspended between two statements
    must not keep all others from what only one may do. By the time it counts as dead (15 s), another has the lock.
    """
    with session.begin():
        held = bool(session.execute(TRY_LOCK, lock).scalar())
        if held:
            session.execute(END_IF_SILENT)
    try:
        yield held
    finally:
        if held and not session.invalidated:
            with session.begin():
                session.execute(UNLOCK, lock)
                session.execute(KEEP_IF_SILENT)
