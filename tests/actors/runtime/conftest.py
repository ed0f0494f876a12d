"""The loop, in the test's own process."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from actors.runtime.kinds import Kind
from actors.runtime.work import work_on


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
        work_on(job_id, a_kind, replace(place, **changes))
        return job_row(job_id)

    return run_once
