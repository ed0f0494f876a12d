"""For tests of kinds: runs a job from start to end in the test's process, with the real start and loop."""

from threading import Event
from typing import Any

from sqlalchemy import Engine, text

from actors.runtime.base.config import Settings
from actors.runtime.jobs.context import JobContext
from actors.runtime.jobs.kinds import Kind
from actors.runtime.jobs.perform import perform
from actors.runtime.jobs.start import read_params, start


def run_kind(
    kind: Kind, engine: Engine, settings: Settings, business_id: int, params: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Starts a job of this kind and performs it until it is done, paused, snoozed or failed; returns its row.

    A refused start raises as it does for a caller (see `start`). To continue after a pause or a failure, resume the
    job and call `go_on()`.
    """
    with engine.begin() as connection:
        started = start(connection, kind, settings, business_id, read_params(kind, params or {}), who="test")
    return go_on(kind, engine, settings, started.job_id)


def go_on(kind: Kind, engine: Engine, settings: Settings, job_id: int) -> dict[str, Any]:
    """What a worker does with the job's message; returns the job's row."""
    perform(job_id, kind, JobContext(engine, settings, lambda: 0, Event(), lambda: None))
    with engine.begin() as connection:
        found = connection.execute(text("SELECT * FROM background_jobs WHERE id = :id"), {"id": job_id}).mappings()
        return dict(found.one())
