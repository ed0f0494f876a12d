"""INSERT is taken away in mid-job, as platforms do at a quota, and given back."""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import falcon.testing
import pytest
from sqlalchemy import Engine
from structlog.testing import capture_logs

from actors.delete_receipts import delete_receipts
from actors.runtime.jobs import backoff
from actors.runtime.jobs.run import Batch, Run
from service.app import create_app
from service.local.processes import wait_until
from sql.engine import make_engine
from tests.actors.runtime.tiny import as_role, kind, numbers


@dataclass
class Tenant:
    """A role that is no superuser, with all rights but ownership; an engine and a URL of its own."""

    name: str
    url: str
    engine: Engine
    sql: Callable[..., Any]

    def lose(self) -> None:
        self.sql(f"REVOKE INSERT ON ALL TABLES IN SCHEMA public FROM {self.name}")

    def regain(self) -> None:
        self.sql(f"GRANT INSERT ON ALL TABLES IN SCHEMA public TO {self.name}")


@pytest.fixture
def tenant(sql, settings, done) -> Iterator[Tenant]:
    name = f"tenant_{secrets.token_hex(4)}"
    sql(f"CREATE ROLE {name} LOGIN")
    sql(f"GRANT pg_monitor, pg_signal_backend TO {name}")
    for schema in ("public", "dramatiq"):
        sql(f"GRANT USAGE ON SCHEMA {schema} TO {name}")
        sql(f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {name}")
        sql(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA {schema} TO {name}")
    url = as_role(settings.DATABASE_URL, name)
    engine = make_engine(url, application_name="tenant")
    yield Tenant(name, url, engine, sql)
    engine.dispose()
    sql(f"DROP OWNED BY {name}")
    sql(f"DROP ROLE {name}")


@pytest.fixture
def short_waits(monkeypatch) -> list[float]:
    """When each of them began."""
    began: list[float] = []
    monkeypatch.setattr(backoff, "backoff_seconds", lambda failures: began.append(time.monotonic()) or 0.5)
    return began


@pytest.fixture
def at_work(run, place, tenant):
    """at_work(kind, job_id, **settings): a worker of the tenant, in a thread."""

    def start(a_kind: Any, job_id: int, **changes: Any) -> threading.Thread:
        own = replace(place, engine=tenant.engine, settings=place.settings.model_copy(update=changes))
        thread = threading.Thread(
            target=run, args=(a_kind, job_id), kwargs={"engine": own.engine, "settings": own.settings}
        )
        thread.start()
        return thread

    return start


def files(sql, business_id: int) -> None:
    sql(
        """INSERT INTO attachments (receipt_id, business_id, object_key, content_type)
           SELECT id, business_id, 'receipts/' || id, 'image/png' FROM receipts WHERE business_id = :b""",
        b=business_id,
    )


@pytest.mark.parametrize("after", [1, 3, 5], ids=["first batch", "mid-job", "at the end"])
def test_a_job_that_may_not_insert_waits_says_so_and_ends_with_exact_counters(
    after, make, sql, job_row, events, tenant, at_work, short_waits
) -> None:
    """Ten failures in a row and more: not even its failing can be written, so it is tried again."""
    business_id = make.business()
    make.receipts(business_id, 50)
    files(sql, business_id)
    job_id = make.job(business_id)

    @kind
    def deleting(run: Run) -> Iterator[Batch]:
        for number, batch in enumerate(delete_receipts.work(run), 1 + bool(run.cursor) * 99):
            yield batch
            if number == after:
                tenant.lose()

    with capture_logs() as lines:
        worker = at_work(deleting, job_id, BATCH_SIZE=10, MAX_BATCH_FAILURES=2)
        wait_until(lambda: job_row(job_id)["waiting_for"], 30, "the wait")
        wait_until(lambda: any(line.get("failures", 0) >= 4 for line in lines), 30, "more failures than are allowed")
        stopped = job_row(job_id)
        assert (stopped["status"], stopped["processed"]) == ("running", 10 * after)
        assert stopped["waiting_for"].startswith("permission denied for table ")
        tries = len(lines)
        wait_until(lambda: any(line["event"] == "backoff" for line in lines[tries:]), 30, "the beginning of a wait")
        tenant.regain()
        worker.join(30)
    job = job_row(job_id)
    assert (job["status"], job["last_error"]) == ("completed", None)
    assert (job["processed"], job["succeeded"], job["failed_count"], job["waiting_for"]) == (50, 50, 0, None)
    assert sql("SELECT count(*) AS n FROM receipts WHERE is_deleted") == [{"n": 50}]
    assert sql("SELECT pending FROM attachment_counts") == [{"pending": 50}]
    assert [event["event"] for event in events(job_id)] == ["claimed", "completed"]


def test_a_job_that_crashed_fails_as_soon_as_that_can_be_written(make, job_row, tenant, at_work, monkeypatch) -> None:
    failures: list[int] = []
    monkeypatch.setattr(backoff, "backoff_seconds", lambda number: failures.append(number) or 0.05)
    job_id = make.job()

    @kind
    def buggy(run: Run) -> Iterator[Batch]:
        yield from numbers(run, 50)
        tenant.lose()
        raise LookupError("no such thing")

    worker = at_work(buggy, job_id)
    wait_until(lambda: job_row(job_id)["waiting_for"] and failures[2:], 30, "the third wait")
    assert job_row(job_id)["status"] == "running"
    tenant.regain()
    worker.join(30)
    job = job_row(job_id)
    assert (job["status"], job["processed"], job["last_error"]) == ("failed", 50, "LookupError: no such thing")
    assert failures[:3] == [1, 2, 3]  # each wait is longer than the one before


@pytest.mark.parametrize("how", ["the claim is lost", "the worker stops"])
def test_what_can_never_be_written_ends_with_the_claim_or_with_the_worker(
    how, make, sql, job_row, tenant, at_work, short_waits, place
) -> None:
    job_id = make.job()

    @kind
    def buggy(run: Run) -> Iterator[Batch]:
        tenant.lose()
        raise LookupError("no such thing")
        yield

    with capture_logs() as lines:
        worker = at_work(buggy, job_id)
        wait_until(lambda: job_row(job_id)["waiting_for"], 30, "the wait")
        if how == "the claim is lost":
            sql("SELECT reset_job(:id, 'ops')", id=job_id)
        else:
            place.stopping.set()
        worker.join(30)
    assert not worker.is_alive()
    if how == "the worker stops":
        (line,) = [line for line in lines if line["event"] == "job.abandoned"]
        assert line["error"].startswith("permission denied")
        assert line["cause"] == "LookupError: no such thing"
        assert job_row(job_id)["status"] == "running"  # for the sweep, once the process is gone
    else:
        assert job_row(job_id)["last_error"] == "Reset by ops"


@pytest.mark.parametrize("crashes", [False, True])
def test_a_cancel_that_cannot_be_written_is_tried_again_after_a_pause(
    crashes, make, sql, job_row, tenant, at_work, short_waits
) -> None:
    job_id = make.job()

    @kind
    def crashing(run: Run) -> Iterator[Batch]:
        lose_then([])
        raise LookupError("no such thing")
        yield

    def lose_then(_ids: list[int]) -> None:
        sql("SELECT cancel_job(:id, 'dana')", id=job_id)
        tenant.sql(f"REVOKE INSERT ON job_events FROM {tenant.name}")

    a_kind = crashing if crashes else kind(lambda run: numbers(run, 1000, lose_then))
    with capture_logs() as lines:
        worker = at_work(a_kind, job_id)
        wait_until(lambda: len([line for line in lines if line["event"] == "backoff"]) >= 5, 30, "the waits")
        waits = pairwise(short_waits[1:])  # the first one ends as the cancel is heard of
        assert min(after - before for before, after in waits) > 0.45
        tenant.regain()
        worker.join(30)
    assert job_row(job_id)["status"] == "cancelled"


def test_a_time_limit_that_ends_a_long_wait_names_what_was_waited_for(
    make, job_row, tenant, at_work, monkeypatch
) -> None:
    """Dramatiq's, which strikes anywhere in the thread."""

    class TimeLimitExceeded(BaseException):
        pass

    def strikes(failures: int) -> int:
        raise TimeLimitExceeded

    monkeypatch.setattr(backoff, "backoff_seconds", strikes)
    job_id = make.job()

    def lose(_ids: list[int]) -> None:
        tenant.sql(f"REVOKE UPDATE ON receipts FROM {tenant.name}")

    @kind
    def deleting(run: Run) -> Iterator[Batch]:
        lose([])
        yield from delete_receipts.work(run)

    make.receipts(job_row(job_id)["business_id"], 5)
    with capture_logs():  # else it would be busy for long with a picture of each frame
        at_work(deleting, job_id).join(10)
    assert job_row(job_id)["last_error"] == (
        "TimeLimitExceeded: , after 1 failures in a row, the last: permission denied for table receipts"
    )


def test_a_job_that_cannot_even_be_claimed_stays_queued_until_it_can(
    make, job_row, tenant, at_work, monkeypatch
) -> None:
    waits: list[tuple[int, float]] = []
    name = "actors.runtime.jobs.perform.backoff_seconds"
    monkeypatch.setattr(name, lambda failures: waits.append((failures, time.monotonic())) or 0.3)
    job_id = make.job()
    tenant.lose()
    with capture_logs() as lines:
        worker = at_work(kind(lambda run: numbers(run, 0)), job_id)
        wait_until(lambda: waits[1:], 30, "the second wait")
        assert job_row(job_id)["status"] == "queued"
        tenant.regain()
        worker.join(30)
    assert job_row(job_id)["status"] == "completed"
    (first, began), (second, then) = waits[:2]
    assert (first, second, then - began >= 0.3) == (1, 2, True)
    told = [(line["job_id"], line["failures"]) for line in lines if line["event"] == "backoff"]
    assert told[:2] == [(job_id, 1), (job_id, 2)]


def test_meanwhile_the_api_answers_503_to_writes_and_200_to_reads(make, settings, tenant, job_row) -> None:
    business_id = make.business()
    job_id = make.job(business_id)
    token = {"Authorization": f"Bearer {make.token(business_id)}"}
    client = falcon.testing.TestClient(create_app(settings.model_copy(update={"DATABASE_URL": tenant.url})))
    tenant.lose()
    for path, body in ((f"/api/jobs/{job_id}/pause", None), ("/api/receipts/delete_all", {"confirm": "DELETE"})):
        if body:
            other = make.business()
            token = {"Authorization": f"Bearer {make.token(other)}"}
        answer = client.simulate_post(path, json=body, headers=token)
        assert (answer.status_code, answer.json["code"]) == (503, "unavailable")
        assert answer.headers["retry-after"]
    assert client.simulate_get("/api/jobs", headers=token).status_code == 200
    tenant.regain()
    assert client.simulate_post(path, json=body, headers=token).status_code == 202
    assert job_row(job_id)["status"] == "queued"
