"""How long a job or a message is held up if its worker is killed or told to stop, beside stock dramatiq-pg."""

import os
import random
import signal
import time
from threading import Thread

from sqlalchemy import text

from bench._arena import table
from bench._site import Site, percentiles, site
from bench._take_over import PATIENCE_SECONDS, take_over
from service.local.processes import wait_until

TRIES = 50
WORKERS = 4
STOCK_TRIES = 8

JOB = text("""
    SELECT j.id, j.attempt, j.processed, j.status, w.pid
    FROM background_jobs j LEFT JOIN workers w ON w.id = j.worker_id
""")
REQUEUED = text("SELECT extract(epoch FROM max(at)) FROM job_events WHERE event = 'requeued'")


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
        add(f"kill -9 → its message begun elsewhere, {name}", take_over("ours", TRIES, workers=WORKERS, load=load)[0])
    times, lost = take_over("stock", STOCK_TRIES, workers=WORKERS, load=False)
    add("the same on stock dramatiq-pg, idle", times, f"{lost} of {STOCK_TRIES} not within {PATIENCE_SECONDS} s")
    return table(("ms", "tries", "p50", "p99", "most", ""), rows)


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
