"""Our advisory locks, except those of workers: for things that one process does at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text

SPACE = 1819242088  # the number after functions/workers/worker_lock_space.sql

RELEASE = {"space": SPACE, "id": 1}
SWEEP = {"space": SPACE, "id": 2}
RETENTION = {"space": SPACE, "id": 3}

# In one statement: nothing can fail between the lock and its limit.
TRY_LOCK = text("""
    SELECT CASE WHEN pg_try_advisory_lock(:space, :id) THEN set_config('idle_session_timeout', '10s', false) END
""")
UNLOCK = text("SELECT pg_advisory_unlock(:space, :id); RESET idle_session_timeout")


@contextmanager
def holding(session: Connection, lock: dict[str, int]) -> Iterator[bool]:
    """Holds the lock for as long as the block runs, over any number of transactions; False if another session has it.

    While it does, the server ends the session after 10 s of silence: a process that is suspended between two statements
    must not keep all others from what only one may do. By the time it counts as dead (15 s), another has the lock.
    """
    with session.begin():
        held = session.execute(TRY_LOCK, lock).scalar() is not None
    try:
        yield held
    finally:
        if held and not session.invalidated:
            try:
                with session.begin():
                    session.execute(UNLOCK, lock)
            except BaseException as error:  # in the pool it would still hold the lock
                session.invalidate(error)
                raise
