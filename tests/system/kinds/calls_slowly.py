"""A kind that calls a slow server, as those that read mailboxes and send messages do. Only for test_outside.py."""

import urllib.error
import urllib.request
from collections.abc import Iterator

from sqlalchemy import text

from actors.runtime.jobs.kinds import job_kind
from actors.runtime.jobs.params import Params
from actors.runtime.jobs.run import Batch, Run
from actors.runtime.jobs.verdicts import Snooze, Transient, Verdict

SIZE = 5


class CallsSlowly(Params):
    url: str
    items: int


def classify(error: Exception) -> Verdict | None:
    if isinstance(error, urllib.error.HTTPError):
        if error.code == 429:
            return Snooze(float(error.headers["Retry-After"]), "the server asked to wait")
        return Transient(f"the server said {error.code}")
    return Transient("the server cannot be reached") if isinstance(error, OSError) else None


def ask(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - the test's own server
        return str(answer.read().decode())


@job_kind(queue="low", params=CallsSlowly, classify=classify, throttle_ms=0)
def calls_slowly(run: Run[CallsSlowly]) -> Iterator[Batch]:
    at = run.cursor.get("at", 0)
    while at < run.params.items:
        ids = list(range(at + 1, min(at + SIZE, run.params.items) + 1))
        for part in (1, 2):
            run.call(ask, f"{run.params.url}/{ids[0]}/{part}")
        at = ids[-1]
        batch = run.take(ids, {"at": at})
        run.begin().execute(text("INSERT INTO effects SELECT unnest(CAST(:ids AS int[]))"), run.scope(ids=ids))
        batch.succeeded = len(ids)
        yield batch
