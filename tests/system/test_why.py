"""Troubles made on purpose, with real workers: what psql and curl say, and that the remedy works."""

import signal
from typing import Any

import pytest
from sqlalchemy import text

from service.local.processes import wait_until

SLOW = {"BATCH_SIZE": 10, "THROTTLE_MS": 300}


@pytest.fixture
def reason(sql):
    """reason(job_id): as psql says it."""
    return lambda job_id: sql("SELECT * FROM ops.why(:id)", id=job_id)[0]["reason"]


def why(user: Any, job_id: int) -> dict[str, Any]:
    answer = user.client.get(f"/api/jobs/{job_id}/why")
    assert answer.status == 200, answer
    return dict(answer.body)


def test_a_worker_on_other_queues_and_then_one_on_the_right_queue(owner, start, reason) -> None:
    user = owner(30)
    job_id = user.start()
    assert why(user, job_id)["reason"] == reason(job_id) == "no_worker"
    start("worker", WORKER_QUEUES="receipts")
    wait_until(lambda: "listen to receipts" in why(user, job_id)["sentence"], 30, "the worker")
    start("worker", WORKER_QUEUES="maintenance", **SLOW)
    user.wait_for_progress(job_id)
    assert why(user, job_id)["reason"] == reason(job_id) == "running"
    user.wait_for(job_id, "completed")
    assert why(user, job_id)["reason"] == reason(job_id) == "ended"


def test_a_row_lock_in_the_batch_is_named_before_it_has_timed_out(owner, start, reason, engine, sql) -> None:
    user = owner(200)
    start("worker", **SLOW)
    job_id = user.start()
    user.wait_for_progress(job_id)
    with engine.connect() as holder:
        pid = holder.execute(text("SELECT pg_backend_pid()")).scalar_one()
        holder.execute(text("SELECT FROM receipts WHERE NOT is_deleted FOR UPDATE"))
        wait_until(lambda: reason(job_id) == "blocked", 30, "the lock")
        assert user.job(job_id)["waiting_for"] is None, "it has timed out"
        told = why(user, job_id)
        assert (told["reason"], told["evidence"]["blocker"]["pid"]) == ("blocked", pid)
        sql("SELECT pg_terminate_backend(:pid)", pid=pid)  # as the remedy says
        assert told["remedy"].endswith(f"SELECT pg_terminate_backend({pid})")
        user.wait_for(job_id, "completed")
        holder.invalidate()


def test_a_worker_that_is_stopped_is_silent_before_it_is_dead_and_goes_on(owner, start, reason) -> None:
    user = owner(200)
    worker = start("worker", **SLOW)
    job_id = user.start()
    user.wait_for_progress(job_id)
    worker.signal(signal.SIGSTOP)
    said: list[str] = []

    def is_silent() -> bool:
        told = user.job(job_id)["why"]
        said.append(told["sentence"])
        return bool(told["reason"] == "silent_worker")

    wait_until(is_silent, 30, "the silence")
    assert "after 15 s it counts as dead" in said[-1]
    assert reason(job_id) == "silent_worker"
    worker.signal(signal.SIGCONT)
    user.wait_for(job_id, "completed")
