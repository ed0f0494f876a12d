"""Tiny kinds, for work in the test's own process."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import ConfigDict
from sqlalchemy import text

from actors.runtime.jobs.kinds import Kind, job_kind
from actors.runtime.jobs.params import Params
from actors.runtime.jobs.run import Batch, Run


def numbers(
    run: Run,
    last: int,
    each: Callable[[list[int]], Any] = lambda _ids: None,
    before: Callable[[], Any] = lambda: None,
) -> Iterator[Batch]:
    """Counts from the cursor up to `last` and writes each number into the table `done`.

    In each batch's transaction `before` is called first, and `each` once the numbers are written.
    """
    at = run.cursor.get("last_id", 0)
    while at < last:
        ids = list(range(at + 1, min(at + run.limit, last) + 1))
        at = ids[-1]
        batch = run.take(ids, {"last_id": at})
        connection = run.begin()
        before()
        connection.execute(text("INSERT INTO done SELECT unnest(CAST(:ids AS int[]))"), {"ids": ids})
        each(ids)
        batch.succeeded = len(ids)
        yield batch


class AnyParams(Params):
    model_config = ConfigDict(extra="allow")


def kind(work: Any, **settings: int) -> Kind:
    return job_kind(queue="maintenance", params=AnyParams, **settings)(work)


def as_role(url: str, role: str) -> str:
    """The same database, as somebody else."""
    return re.sub(r"//([^@/]*@)?", f"//{role}@", url, count=1)
