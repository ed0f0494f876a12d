"""A large backlog: how fast it drains, and at what cost, also among finished messages and under an old snapshot."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
import psycopg2
from sqlalchemy import Connection, text

from bench._arena import Arena, arena, table
from bench._contenders import longhaul
from bench._effect import total
from sql.engine import make_engine

FILL = text("""
    INSERT INTO dramatiq.queue (message_id, queue_name, state, mtime, message)
    SELECT id, 'low', CAST(:state AS dramatiq.state), now(), jsonb_build_object('queue_name', 'low',
        'actor_name', 'effect', 'args', '[0]'::jsonb, 'kwargs', '{}'::jsonb, 'options', '{}'::jsonb, 'message_id', id,
        'message_timestamp', 0)
    FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, :number)) ids
""")

CASES = (  # waiting, finished, old snapshot
    (20_000, 0, False),
    (100_000, 0, False),
    (100_000, 1_000_000, False),
    (100_000, 1_000_000, True),
)


def run() -> str:
    with arena() as place:
        rows = [drain(place, *case) for case in CASES]
    head = (
        "waiting",
        "finished",
        "old snapshot",
        "messages/s",
        "RSS of a worker process, most",
        "advisory locks, most",
    )
    return table(head, rows)


def drain(place: Arena, waiting: int, finished: int, old_snapshot: bool) -> tuple[str, ...]:
    with ExitStack() as defer:
        defer.enter_context(place.ready(longhaul))
        engine = make_engine(os.environ["DATABASE_URL"], application_name="bench")
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("SET statement_timeout = 0"))
            connection.execute(FILL, {"state": "done", "number": finished})
            connection.execute(FILL, {"state": "queued", "number": waiting})
            connection.execute(text("VACUUM ANALYZE dramatiq.queue"))
            if old_snapshot:
                defer.enter_context(snapshot())
            effects = defer.enter_context(place.working(longhaul))
            first, began, most_memory, most_locks = 0, 0.0, 0, 0
            while (done := total(effects)) < waiting:
                if not first and done >= waiting / 10:
                    first, began = done, time.perf_counter()
                most_memory = max(most_memory, memory())
                most_locks = max(most_locks, locks(connection))
                time.sleep(0.1)
            rate = (waiting - first) / (time.perf_counter() - began)
        engine.dispose()
    return (
        f"{waiting:,}",
        f"{finished:,}",
        "yes" if old_snapshot else "no",
        f"{rate:,.0f}",
        f"{most_memory / 2**20:.0f} MB",
        str(most_locks),
    )


@contextmanager
def snapshot() -> Iterator[None]:
    """A session that has read the queue, and whose transaction stays open."""
    connection = psycopg2.connect(os.environ["DATABASE_URL"])
    connection.set_session(isolation_level="REPEATABLE READ")
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM dramatiq.queue")
    yield
    connection.close()


def memory() -> int:
    """The resident memory of the largest process below this one that is a worker, in bytes."""
    found = [0]
    for process in psutil.Process().children(recursive=True):
        try:
            if "bench._contenders" in " ".join(process.cmdline()):
                found.append(process.memory_info().rss)
        except psutil.NoSuchProcess:
            continue
    return max(found)


def locks(connection: Connection) -> int:
    return int(connection.execute(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")).scalar_one())
