"""How long a message is held up if its worker is killed: ours, or one of stock dramatiq-pg."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread

from sqlalchemy import Engine, text

from bench._arena import ROOT
from bench.backlog import FILL
from service.local.processes import signal_group, stop_process, wait_until
from service.local.sandbox import sandbox
from sql.engine import make_engine
from sql.release import release

PATIENCE_SECONDS = 30

SEND = text("""
    INSERT INTO dramatiq.queue (message_id, queue_name, state, mtime, message)
    SELECT id, 'low', 'queued', now(), jsonb_build_object('queue_name', 'low', 'actor_name', 'hold',
        'args', jsonb_build_array(CAST(:number AS integer)), 'kwargs', '{}'::jsonb, 'options', '{}'::jsonb,
        'message_id', id, 'message_timestamp', 0)
    FROM (SELECT gen_random_uuid() AS id) one
""")
TELL = text("""
    SELECT pg_notify('dramatiq.low.enqueue', message::text) FROM dramatiq.queue WHERE state = 'queued' LIMIT 1
""")


def take_over(whose: str, tries: int, *, workers: int, load: bool) -> tuple[list[float], int]:
    """Seconds from the kill to the next start, and how many did not start within our patience."""
    with ExitStack() as defer:
        environment = defer.enter_context(sandbox("bench"))
        folder = Path(defer.enter_context(tempfile.TemporaryDirectory()))
        engine = make_engine(environment["DATABASE_URL"], application_name="bench")
        defer.callback(engine.dispose)
        release(engine)
        processes: dict[int, subprocess.Popen[bytes]] = {}
        defer.callback(lambda: [stop_process(process, 0) for process in processes.values()])

        def start() -> None:
            command = ["dramatiq", f"bench._hold:{whose}", "--processes", "1", "--threads", "4"]
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            given = {**environment, "PATH": path, "PYTHONPATH": str(ROOT), "BENCH_EFFECTS": str(folder)}
            process = subprocess.Popen(
                command, env=given, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            processes[process.pid] = process

        for _ in range(workers):
            start()
        done = Event()
        filler = Thread(target=keep_full, args=(engine, done))
        if load:
            filler.start()
            defer.callback(filler.join)
            defer.callback(done.set)
        times = [one(number, engine, folder, processes, start) for number in range(tries)]
        assert not load or filler.is_alive(), "the load has died: these are the times of idle workers"
    return [seconds for seconds in times if seconds is not None], times.count(None)


def one(
    number: int,
    engine: Engine,
    folder: Path,
    processes: "dict[int, subprocess.Popen[bytes]]",
    start: Callable[[], None],
) -> float | None:
    def begun() -> dict[int, float]:
        """Process → when it started this message."""
        return {int(file.suffix[1:]): file.stat().st_mtime for file in folder.glob(f"{number}.[0-9]*")}

    with engine.begin() as connection:
        connection.execute(SEND, {"number": number})
        connection.execute(TELL)
    wait_until(begun, 60, "the first beginning")
    (victim,) = begun()
    time.sleep(random.uniform(0.1, 0.5))
    group = os.getpgid(victim)
    began = time.time()
    signal_group(processes[group], signal.SIGKILL)
    try:
        wait_until(lambda: len(begun()) > 1, PATIENCE_SECONDS, "another to begin")
        took = next(at for process, at in begun().items() if process != victim) - began
    except TimeoutError:
        took = None
    (folder / f"{number}.released").touch()
    processes.pop(group).wait()
    start()
    return took


def keep_full(engine: Engine, done: Event) -> None:
    """Makes sure that there is always more to do."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        while not done.is_set():
            waiting = "SELECT count(*) FROM (SELECT FROM dramatiq.queue WHERE state = 'queued' LIMIT 5000) few"
            if connection.execute(text(waiting)).scalar_one() < 5000:
                connection.execute(FILL, {"state": "queued", "number": 10_000})
            done.wait(0.1)
