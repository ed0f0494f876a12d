"""What becomes of a job when its worker dies, is replaced, falls silent or has the job taken away."""

import signal
from contextlib import closing

import psycopg2
import pytest

from service.local.processes import wait_until
from sql.locks import SWEEP


def deleted(sql) -> int:
    return sql("SELECT count(*) AS n FROM receipts WHERE is_deleted")[0]["n"]


def test_a_job_that_kills_its_worker_three_times_at_one_place_fails_and_says_where(
    owner, start, environment, sql
) -> None:
    user = owner(200)
    with closing(psycopg2.connect(environment["DATABASE_URL"])) as somebody, somebody.cursor() as cursor:
        cursor.execute("LOCK TABLE receipts IN SHARE MODE")  # so that no batch gets through
        job_id = user.start()
        for loss in (1, 2, 3):
            worker = start("worker", BATCH_SIZE=20)
            wait_until(lambda loss=loss: user.job(job_id)["attempt"] == loss, 30, "the claim")
            worker.signal(signal.SIGKILL)
            worker.process.wait(30)
            wait_until(lambda: user.job(job_id)["status"] != "running", 30, "the loss to be noticed")
    job = user.job(job_id)
    assert (job["status"], job["processed"]) == ("failed", 0)
    assert job["last_error"].endswith("died, the third in a row at cursor null with batches of 20")

    user.client.post(f"/api/jobs/{job_id}/resume")
    start("worker", THROTTLE_MS=0)
    assert user.wait_for(job_id, "completed")["succeeded"] == 200


def test_a_queued_job_whose_message_is_gone_is_worked_on_all_the_same(owner, start, sql) -> None:
    user = owner(100)
    job_id = user.start()
    sql("DELETE FROM dramatiq.queue")
    start("worker", THROTTLE_MS=0)
    assert user.wait_for(job_id, "completed", seconds=60)["succeeded"] == 100


@pytest.mark.scale
def test_a_rolling_restart_of_all_workers_does_not_one_batch_twice(owner, start) -> None:
    user = owner(4000)
    workers = [start("worker", THROTTLE_MS=500), start("worker", THROTTLE_MS=500)]
    wait_until(lambda: all(worker.lines("worker.start") for worker in workers), 30, "the workers")
    job_id = user.start()
    for number, throttle in ((0, 500), (1, 0)):  # the last one makes an end of it
        user.wait_for_progress(job_id, beyond=user.job(job_id)["processed"])
        workers.append(start("worker", THROTTLE_MS=throttle))
        wait_until(lambda: workers[-1].lines("worker.start"), 30, "the next worker")
        workers[number].signal(signal.SIGTERM)
        assert workers[number].process.wait(30) == 0
    workers[2].signal(signal.SIGTERM)
    job = user.wait_for(job_id, "completed")
    assert (job["processed"], job["succeeded"]) == (4000, 4000)
    wait_until(lambda: any(worker.lines("job.finished") for worker in workers), 30, "the last line")
    begun = [line["first"] for worker in workers for line in worker.lines("batch.start")]
    assert sorted(begun) == user.ids[::50]
    assert {event["event"] for event in user.events(job_id)} <= {"created", "claimed", "requeued", "completed"}


def test_a_job_that_an_operator_takes_from_a_worker_stays_taken_and_can_be_resumed(
    owner, start, web, make, sql
) -> None:
    user = owner(2000)
    worker = start("worker")
    job_id = user.start()
    user.wait_for_progress(job_id)
    answer = web(make.token(None, "operator")).post(f"/api/admin/business/{user.business_id}/reset-progress")
    assert answer.body == {"success": True, "message": "Successfully reset 1 stuck run", "reset_count": 1}
    wait_until(lambda: worker.lines("job.claim_lost"), 30, "the worker to notice")
    job = user.job(job_id)
    assert job["status"] == "failed"
    assert deleted(sql) == job["processed"]
    user.client.post(f"/api/jobs/{job_id}/resume")
    assert user.wait_for(job_id, "completed")["succeeded"] == 2000


def test_a_job_without_a_sign_of_life_fails_and_its_late_batch_is_not_written(owner, start, sql) -> None:
    user = owner(1000)
    worker = start("worker", THROTTLE_MS=5000)  # long enough to look at it between two batches
    job_id = user.start()
    before = user.wait_for_progress(job_id)
    sql("UPDATE background_jobs SET heartbeat_at = now() - interval '3 minutes'")
    wait_until(lambda: user.job(job_id)["status"] == "failed", 30, "it to be found stale")
    assert user.job(job_id)["last_error"].startswith("Server restarted / job heartbeat lost: no heartbeat for 18")
    wait_until(lambda: worker.lines("job.claim_lost"), 30, "the worker to notice")
    assert (deleted(sql), user.job(job_id)["processed"]) == (before["processed"], before["processed"])


@pytest.mark.scale
def test_a_worker_that_waits_for_a_lock_beats_and_says_what_it_waits_for(owner, start, environment) -> None:
    """The cursor stands still, the heart does not: that is not stale, and the status says why."""
    user = owner(500)
    start("worker")
    with closing(psycopg2.connect(environment["DATABASE_URL"])) as somebody, somebody.cursor() as cursor:
        cursor.execute("LOCK TABLE receipts IN SHARE MODE")
        job_id = user.start()
        wait_until(lambda: user.job(job_id)["waiting_for"], 30, "the lock timeout")
        job = user.job(job_id)
        assert (job["status"], job["processed"], job["is_stale"]) == ("running", 0, False)
        assert "lock timeout" in job["waiting_for"]
        assert f"blocked by the session with the pid {somebody.info.backend_pid}, whose" in job["waiting_for"]
        assert job["seconds_since_heartbeat"] <= 12
    assert user.wait_for(job_id, "completed")["succeeded"] == 500


@pytest.mark.scale
def test_a_worker_that_stands_still_in_its_sweep_keeps_no_other_from_sweeping(owner, start, sql) -> None:
    user = owner(4000)
    frozen = start("worker", THROTTLE_MS=2000)  # not finished before it is stopped
    job_id = user.start()
    user.wait_for_progress(job_id)
    sweeping = """
        SELECT state FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE locktype = 'advisory' AND classid = :space AND objid = :id AND datname = current_database()
    """

    def stopped_with_the_lock() -> bool:
        for _ in range(1000):  # without a pause: a sweep takes a few milliseconds
            if sql(sweeping, **SWEEP):
                break
        frozen.signal(signal.SIGSTOP)
        found = sql(sweeping, **SWEEP) == [{"state": "idle"}]  # between two steps
        if not found:
            frozen.signal(signal.SIGCONT)
        return found

    wait_until(stopped_with_the_lock, 60, "the worker to stop between two steps of its sweep")
    start("worker", THROTTLE_MS=0)
    # Read from the table: a poll would recover the job too.
    wait_until(
        lambda: sql("SELECT FROM background_jobs WHERE status = 'completed'"), 60, "another to take the job over"
    )
    frozen.signal(signal.SIGCONT)
    wait_until(lambda: frozen.lines("fetcher.lost"), 30, "the frozen one to notice")
