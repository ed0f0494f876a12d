"""What a running job waits for, and what its rows met: two facts in two places."""

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from actors.runtime.jobs.claim import Claim
from actors.runtime.jobs.run import Batch, Run
from service.local.processes import wait_until
from tests.actors.runtime.tiny import kind, numbers

STALE = "SELECT id, status FROM fail_stale_jobs('delete_receipts', 120, 300)"


@pytest.fixture
def claim(make, engine, worker_id) -> Claim:
    with engine.begin() as connection:
        taken = Claim.acquire(connection, make.job(), worker_id, 50)
    assert taken is not None
    return taken


@pytest.fixture
def beat(engine, claim):
    def once(reason: str | None = None) -> None:
        with engine.begin() as connection:
            claim.beat(connection, reason)

    return once


def batch() -> Batch:
    return Batch([1], {"last_id": 1}, succeeded=1)


def test_what_a_row_met_outlives_a_wait_and_the_wait_does_not_outlive_itself(run, job_row, sql) -> None:
    """Row 3 is refused; then a batch is interrupted, waits, and gets through."""
    sql("ALTER TABLE done ADD CHECK (n <> 3)")
    seen: list[dict[str, Any]] = []

    @kind
    def interrupted(run: Run) -> Iterator[Batch]:
        def trip(ids: list[int]) -> None:
            if ids[0] > 3 and not seen:
                watcher = threading.Thread(target=look, args=(run.job_id,))
                watcher.start()
                run.connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

        yield from numbers(run, 20, trip)

    def look(job_id: int) -> None:
        def waits() -> bool:
            row = job_row(job_id)
            return bool(row["waiting_for"]) and not seen.append(row)

        wait_until(waits, 30, "the wait")

    job = run(interrupted)
    assert (seen[0]["status"], seen[0]["waiting_for"]) == ("running", "the connection to Postgres was lost")
    assert "done_n_check" in seen[0]["last_error"]
    assert (job["status"], job["failed_count"], job["waiting_for"]) == ("completed", 1, None)
    assert "done_n_check" in job["last_error"]


def test_a_wait_before_the_end_leaves_no_trace_on_a_completed_job(claim, beat, engine, job_row) -> None:
    beat("the connection to Postgres was lost")
    with engine.begin() as connection:
        claim.leave(connection, "completed", "completed", None)
    job = job_row(claim.job_id)
    assert (job["status"], job["waiting_for"], job["last_error"]) == ("completed", None, None)


@pytest.mark.parametrize("how", ["checkpoint", "claim", "leave", "recover", "pause and resume", "reset and resume"])
def test_whatever_moves_a_job_ends_its_wait(how, claim, beat, engine, sql, job_row, worker_id) -> None:
    beat("deadlock detected")
    assert job_row(claim.job_id)["waiting_for"] == "deadlock detected"
    job_id = claim.job_id
    match how:
        case "checkpoint":
            with engine.begin() as connection:
                claim.checkpoint(connection, batch())
        case "claim":
            sql("UPDATE background_jobs SET status = 'queued' WHERE id = :id", id=job_id)
            sql("SELECT claim_job(:id, :worker)", id=job_id, worker=worker_id)
        case "leave":
            sql("SELECT leave_running(:id, NULL, 'queued', 'requeued', 'worker:1')", id=job_id)
        case "recover":
            sql("UPDATE background_jobs SET worker_id = worker_id + 1")
            sql("SELECT recover_jobs()")
        case "pause and resume":
            sql("UPDATE background_jobs SET status = 'paused' WHERE id = :id", id=job_id)
            sql("SELECT resume_job(:id, 'dana')", id=job_id)
        case "reset and resume":
            sql("SELECT reset_job(:id, 'ops')", id=job_id)
            sql("SELECT resume_job(:id, 'dana')", id=job_id)
    assert job_row(job_id)["waiting_for"] is None


def test_a_plain_beat_moves_the_heart_only_and_one_with_a_reason_is_an_update(claim, beat, job_row, sql) -> None:
    sql("UPDATE background_jobs SET heartbeat_at = now() - interval '1 hour', updated_at = now() - interval '1 hour'")
    before = job_row(claim.job_id)
    beat()
    plain = job_row(claim.job_id)
    assert plain["heartbeat_at"] > before["heartbeat_at"]
    assert (plain["updated_at"], plain["waiting_for"]) == (before["updated_at"], None)
    beat("deadlock detected")
    assert job_row(claim.job_id)["updated_at"] > before["updated_at"]
    beat()  # says nothing new about what it waits for
    assert job_row(claim.job_id)["waiting_for"] == "deadlock detected"


def test_a_job_that_only_beats_is_stale_and_one_that_says_what_it_waits_for_is_not(claim, beat, job_row, sql) -> None:
    long_ago = "UPDATE background_jobs SET updated_at = now() - interval '301 seconds'"
    sql(long_ago)
    beat("the connection to Postgres was lost")
    assert sql(STALE) == []
    sql(long_ago)
    beat()
    assert datetime.now(UTC) - job_row(claim.job_id)["heartbeat_at"] < timedelta(seconds=10)
    assert sql(STALE) == [{"id": claim.job_id, "status": "failed"}]
    job = job_row(claim.job_id)
    assert re.fullmatch(r"Server restarted / job heartbeat lost: no update for 3\d\d s", job["last_error"])
    assert job["waiting_for"] is None


def test_what_an_older_worker_wrote_as_its_wait_does_not_stay_on_a_completed_job(claim, engine, sql, job_row) -> None:
    """The release before had one place for both."""
    sql("UPDATE background_jobs SET last_error = 'the connection to Postgres was lost'")
    with engine.begin() as connection:
        claim.leave(connection, "completed", "completed", None)
    assert job_row(claim.job_id)["last_error"] is None


def test_the_only_row_that_failed_is_told_again_after_a_resume(claim, engine, sql, job_row) -> None:
    with engine.begin() as connection:
        claim.row_failed(connection, Batch([1], {"last_id": 1}, failed=1), "bad row")
        claim.leave(connection, "failed", "failed", "the end")
    sql("SELECT resume_job(:id, 'dana')", id=claim.job_id)
    assert job_row(claim.job_id)["last_error"] == "bad row"


@pytest.mark.parametrize("end", ["paused", "failed"])
def test_resume_clears_the_error_of_the_end_and_keeps_what_the_last_row_met(end, claim, engine, sql, job_row) -> None:
    with engine.begin() as connection:
        claim.row_failed(connection, Batch([1], {"last_id": 1}, failed=1), "an earlier one")
        claim.row_failed(connection, Batch([2], {"last_id": 2}, failed=1), "bad row")
        claim.leave(connection, "queued" if end == "paused" else end, "left", "the end")
    assert job_row(claim.job_id)["failures"] == 0
    if end == "paused":
        sql("SELECT pause_job(:id, 'dana')", id=claim.job_id)
    sql("SELECT resume_job(:id, 'dana')", id=claim.job_id)
    assert (job_row(claim.job_id)["status"], job_row(claim.job_id)["last_error"]) == ("queued", "bad row")
