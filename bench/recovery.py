"""How long a job or a message stands when its worker is killed or told to stop, beside stock dramatiq-pg."""

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

from bench._arena import ROOT, table
from bench._site import Site, percentiles, site
from bench.backlog import FILL
from service.local.processes import signal_group, stop_process, wait_until
from service.local.sandbox import sandbox
from sql.engine import make_engine
from sql.release import release

TRIES = 50
WORKERS = 4
STOCK_TRIES = 8
STOCK_PATIENCE_SECONDS = 30

JOB = text("""
    SELECT j.id, j.attempt, j.processed, j.status, w.pid
    FROM background_jobs j LEFT JOIN workers w ON w.id = j.worker_id
""")
REQUEUED = text("SELECT extract(epoch FROM max(at)) FROM job_events WHERE event = 'requeued'")

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


def run() -> str:
    rows: list[tuple[str, ...]] = []

    def add(what: str, times: list[float], more: str = "") -> None:
        shown = (f"{seconds * 1000:,.0f}" for seconds in percentiles(times)) if times else ("", "", "")
        rows.append((what, str(len(times)), *shown, more))
        print(" ", rows[-1], flush=True)

    with site(workers=WORKERS, WORKER_THREADS=4) as place:
        place.owner(300_000).post("/api/receipts/delete_all", {"confirm": "DELETE"})
        add("kill -9 → its job's next batch, elsewhere", [kill(place) for _ in range(TRIES)])
        stops = [stop(place) for _ in range(TRIES)]
        add("SIGTERM → job back in the queue", [back for back, _, _ in stops])
        add("SIGTERM → the job's next batch, elsewhere", [on for _, on, _ in stops])
        add("SIGTERM → process gone", [gone for _, _, gone in stops])
    for name, load in (("idle", False), ("under full load", True)):
        add(f"kill -9 → its message begun elsewhere, {name}", take_over("ours", TRIES, load=load)[0])
    times, lost = take_over("stock", STOCK_TRIES, load=False)
    add("the same on stock dramatiq-pg, idle", times, f"{lost} of {STOCK_TRIES} not within {STOCK_PATIENCE_SECONDS} s")
    return table(("ms", "tries", "p50", "p99", "most", ""), rows)


# --- jobs


def running(place: Site) -> tuple[int, int]:
    """(attempt, process group) of the one job, as soon as a worker has done a batch of it."""
    found: list[tuple[int, int]] = []

    def there() -> bool:
        with place.engine.connect() as connection:
            job = connection.execute(JOB).one()
        if job.status == "running" and job.pid is not None:
            found.append((job.attempt, os.getpgid(job.pid)))
        return bool(found)

    place.wait_for_workers(WORKERS - 1)
    wait_until(there, 30, "the job to run")
    return found[-1]


def goes_on(place: Site, attempt: int) -> None:
    """Returns when a later claim has committed a batch."""
    with place.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        first = None
        while True:
            job = connection.execute(JOB).one()
            if job.attempt > attempt:
                first = job.processed if first is None else first
                if job.processed > first:
                    return
            time.sleep(0.002)


def kill(place: Site) -> float:
    attempt, group = running(place)
    time.sleep(random.uniform(0, 0.3))
    began = time.time()
    os.killpg(group, signal.SIGKILL)
    goes_on(place, attempt)
    took = time.time() - began
    place.start_worker()
    return took


def stop(place: Site) -> tuple[float, float, float]:
    attempt, group = running(place)
    process = next(worker for worker in place.workers if worker.pid == group)
    time.sleep(random.uniform(0, 0.3))
    ended: list[float] = []
    waiter = Thread(target=lambda: (process.wait(), ended.append(time.time())))
    waiter.start()
    began = time.time()
    os.killpg(group, signal.SIGTERM)
    goes_on(place, attempt)
    on = time.time() - began
    with place.engine.connect() as connection:
        back = float(connection.execute(REQUEUED).scalar_one()) - began
    waiter.join()
    place.start_worker()
    return back, on, ended[0] - began


# --- messages


def take_over(whose: str, tries: int, *, load: bool) -> tuple[list[float], int]:
    """Seconds from the kill to the next beginning, and how many had none for as long as we cared to wait."""
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

        for _ in range(WORKERS):
            start()
        done = Event()
        filler = Thread(target=keep_full, args=(engine, done))
        if load:
            filler.start()
            defer.callback(filler.join)
            defer.callback(done.set)
        times = [one(number, engine, folder, processes, start) for number in range(tries)]
        assert not load or filler.is_alive(), "the load has died: the times are those of idle workers"
    return [seconds for seconds in times if seconds is not None], times.count(None)


def one(
    number: int,
    engine: Engine,
    folder: Path,
    processes: "dict[int, subprocess.Popen[bytes]]",
    start: Callable[[], None],
) -> float | None:
    def begun() -> dict[int, float]:
        """Process → when it began this message."""
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
        wait_until(lambda: len(begun()) > 1, STOCK_PATIENCE_SECONDS, "another to begin")
        took = next(at for process, at in begun().items() if process != victim) - began
    except TimeoutError:
        took = None
    (folder / f"{number}.released").touch()
    processes.pop(group).wait()
    start()
    return took


def keep_full(engine: Engine, done: Event) -> None:
    """Sees to it that there is always more to do."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        while not done.is_set():
            waiting = "SELECT count(*) FROM (SELECT FROM dramatiq.queue WHERE state = 'queued' LIMIT 5000) few"
            if connection.execute(text(waiting)).scalar_one() < 5000:
                connection.execute(FILL, {"state": "queued", "number": 10_000})
            done.wait(0.1)
