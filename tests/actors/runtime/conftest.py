"""One worker process's parts in the test's own process: under Dramatiq's own worker, or the loop alone."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import dramatiq
import pytest

from actors.runtime.jobs.kinds import Kind
from actors.runtime.jobs.perform import perform
from actors.runtime.messages.broker import Broker
from actors.runtime.worker.process import Process


@pytest.fixture
def process(settings) -> Iterator[Callable[..., Process]]:
    """process(threads): one worker process's parts; process.broker() once, then work(process) to start."""
    made: list[Process] = []

    def make(threads: int = 2) -> Process:
        made.append(Process(settings.model_copy(update={"WORKER_THREADS": threads})))
        return made[-1]

    yield make
    for one in made:
        one.identity.drop()
        one.engine.dispose()


@pytest.fixture
def work() -> Iterator[Callable[[Broker], dramatiq.Worker]]:
    """work(broker): Dramatiq's own worker on it, until the test ends."""
    running: list[dramatiq.Worker] = []

    def start(broker: Broker) -> dramatiq.Worker:
        process = next(m for m in broker.middleware if isinstance(m, Process))
        worker = dramatiq.Worker(broker, worker_threads=process.settings.WORKER_THREADS, worker_timeout=100)
        worker.start()
        running.append(worker)
        return worker

    yield start
    for worker in running:
        with suppress(Exception):
            worker.stop(timeout=5000)


@pytest.fixture
def states(sql) -> Callable[[], dict[str, int]]:
    return lambda: {
        row["state"]: row["n"] for row in sql("SELECT state::text, count(*) AS n FROM dramatiq.queue GROUP BY state")
    }


@pytest.fixture
def done(sql) -> Callable[[], list[int]]:
    """The numbers that were committed, in order; each can be there only once."""
    sql("CREATE TABLE done (n int PRIMARY KEY)")
    return lambda: [row["n"] for row in sql("SELECT n FROM done ORDER BY n")]


@pytest.fixture
def run(make, place, job_row, done):
    """run(kind): works on a new job of it until the message is done; returns the job."""

    def run_once(a_kind: Kind, job_id: int | None = None, **changes: Any) -> dict[str, Any]:
        job_id = job_id or make.job()
        perform(job_id, a_kind, replace(place, **changes))
        return job_row(job_id)

    return run_once
