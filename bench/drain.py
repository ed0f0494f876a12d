"""Draining messages that do nothing, with 2 processes of 8 threads: ours against stock dramatiq-pg, in turns."""

import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from sqlalchemy import Engine, text

from service.processes import signal_group, stop_process, wait_until
from service.sandbox import sandbox
from sql.engine import make_engine
from sql.release import release

ROOT = Path(__file__).parent.parent
RUNS = 3
CONTENDERS = {
    "Longhaul": ("bench._queue_ours:set_up", 20_000),
    "stock dramatiq-pg": ("bench._queue_stock:set_up", 4_000),
}

FILL = text("""
    INSERT INTO dramatiq.queue (message_id, queue_name, state, mtime, message)
    SELECT id, 'low', 'queued', now(), jsonb_build_object('queue_name', 'low', 'actor_name', 'nothing',
        'args', '[]'::jsonb, 'kwargs', '{}'::jsonb, 'options', '{}'::jsonb, 'message_id', id, 'message_timestamp', 0)
    FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, :number)) ids
""")


def run() -> str:
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    with sandbox("bench") as environment:
        engine = make_engine(environment["DATABASE_URL"], application_name="bench")
        release(engine)
        for _ in range(RUNS):
            for name, (set_up, number) in CONTENDERS.items():
                rates[name].append(_drain(engine, environment, set_up, number))
        engine.dispose()
    medians = {name: statistics.median(found) for name, found in rates.items()}
    rows = [f"| {name} | {rate:,.0f} | {medians['Longhaul'] / rate:.1f} |" for name, rate in medians.items()]
    return (
        f"| drain of messages that do nothing, 2 x 8 threads, median of {RUNS} | messages/s | Longhaul is x times |\n"
        "|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def _drain(engine: Engine, environment: dict[str, str], set_up: str, number: int) -> float:
    """Messages per second, from the tenth of them that is done to the last: start-up is not measured."""
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE dramatiq.queue"))
        connection.execute(FILL, {"number": number})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE dramatiq.queue"))

        def done() -> int:
            return int(
                connection.execute(text("SELECT count(*) FROM dramatiq.queue WHERE state = 'done'")).scalar_one()
            )

        process = subprocess.Popen(
            [sys.executable, "-m", "dramatiq", set_up, "--processes", "2", "--threads", "8"],
            cwd=ROOT,
            env={**environment, "PATH": os.environ["PATH"]},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_until(lambda: done() >= number / 10, 120, "the first tenth")
            first, began = done(), time.perf_counter()
            wait_until(lambda: done() == number, 300, "the last message")
            return (number - first) / (time.perf_counter() - began)
        finally:
            signal_group(process, signal.SIGKILL)
            stop_process(process)
