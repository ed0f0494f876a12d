"""The worker dyno: how it starts, how it refuses to, how it stops, and what its death leaves behind."""

import secrets
import signal

import psutil
import pytest

from service.local.processes import wait_until


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"DATABASE_URL": "mysql://u:hunter2@h/d"}, "DATABASE_URL: its value is not usable: expected postgres://"),
        ({"DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/d"}, "DATABASE_URL: Postgres cannot be used"),
        ({"WORKER_QUEUES": "high,low"}, "found high, low, which no kind of job uses; expected at least one of maint"),
        ({"WORKER_QUEUES": "maintenance,maintenence"}, "unknown queue 'maintenence'"),
        ({"BATCH_SIZE": "many"}, "BATCH_SIZE: 'many'"),
    ],
)
def test_a_worker_that_is_configured_wrongly_says_so_and_exits(changes, says, start) -> None:
    worker = start("worker", **changes)
    assert worker.process.wait(30) == 1
    log = worker.log.read_text()
    assert says in log
    assert "hunter2" not in log
    assert "Traceback" not in log


@pytest.mark.parametrize("changes", [{"DATABASE_URL": "mysql://u:hunter2@h/d"}, {"S3_BUCKET": ""}])
def test_a_web_process_that_is_configured_wrongly_says_so_and_exits(changes, start) -> None:
    web = start("web", PORT=1, **changes)
    assert web.process.wait(30) != 0
    log = web.log.read_text()
    assert next(iter(changes)) in log
    assert "hunter2" not in log
    assert "Traceback" not in log


def test_a_worker_on_a_database_that_was_never_released_says_what_to_do(start, servers) -> None:
    from service.local.sandbox import database

    with database(servers["DATABASE_URL"], f"longhaul_test_{secrets.token_hex(4)}") as url:
        worker = start("worker", DATABASE_URL=url)
        assert worker.process.wait(30) == 1
        assert "found a database without our tables" in worker.log.read_text()


@pytest.mark.parametrize("encoding", ["SQL_ASCII"])
def test_a_worker_on_a_database_in_another_encoding_refuses_to_start(encoding, start, other_encoding) -> None:
    worker = start("worker", DATABASE_URL=other_encoding(encoding))
    assert worker.process.wait(30) == 1
    assert f"DATABASE_URL: found a database whose encoding is {encoding}, expected UTF8" in worker.log.read_text()


def test_a_worker_on_an_older_schema_says_what_to_do(start, sql) -> None:
    sql("UPDATE longhaul_version SET version_num = '0001'")
    worker = start("worker")
    assert worker.process.wait(30) == 1
    assert "found the database at version 0001, expected " in worker.log.read_text()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"S3_BUCKET": "no-such-bucket"}, "does not exist; see S3_BUCKET"),
        ({"AWS_SECRET_ACCESS_KEY": "hunter2"}, "refuses our credentials"),
    ],
)
def test_a_bucket_that_refuses_us_does_not_keep_a_worker_from_starting(
    changes, says, owner, start, make, sql, bucket, tmp_path
) -> None:
    user = owner(5)
    make.attachments(user.ids, tmp_path)
    worker = start("worker", **changes)
    job_id = user.start()
    assert user.wait_for(job_id, "completed", seconds=60)["succeeded"] == 5
    wait_until(lambda: worker.lines("bucket.refused"), 30, "the warning")
    (warning,) = worker.lines("bucket.refused")
    assert says in warning["error"]
    wait_until(lambda: "attachments_error" in user.job(job_id)["stats"], 30, "the bucket to be tried")
    stats = user.job(job_id)["stats"]
    assert (stats["attachments_failed"], stats["attachments_deleted"]) == (5, 0)
    assert "http" not in stats["attachments_error"]
    assert "hunter2" not in worker.log.read_text()
    worker.stop()

    sql("UPDATE attachments SET purge_after = now() + interval '1 hour'")
    sql("SELECT retry_purge()")
    start("worker")
    wait_until(lambda: user.job(job_id)["stats"]["attachments_deleted"] == 5, 30, "the objects to go")
    assert "attachments_error" not in user.job(job_id)["stats"]
    assert bucket.keys() == []


def test_a_worker_leaves_queues_alone_that_it_does_not_listen_to(owner, start, sql) -> None:
    """A job in another queue waits, though its message is there and a worker is idle."""
    user = owner(5)
    worker = start("worker", WORKER_QUEUES="maintenance,high")
    wait_until(lambda: worker.lines("worker.start"), 30, "the worker")
    waiting = sql("SELECT id FROM start_job(:b, 'delete_receipts', 'low', '{}', 0, 7, 'x')", b=user.business_id)
    other = owner(5)
    other.wait_for(other.start(), "completed", seconds=60)
    assert user.job(waiting[0]["id"])["status"] == "queued"


@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.scale), 2])
def test_sigterm_to_all_processes_at_once_ends_the_batch_and_puts_the_job_back(processes, owner, start, sql) -> None:
    user = owner(2000)
    worker = start("worker", WORKER_PROCESSES=processes)
    wait_until(lambda: len(worker.lines("worker.start")) == processes, 30, "all processes")
    job_id = user.start()
    user.wait_for_progress(job_id)
    worker.signal(signal.SIGTERM)
    user.wait_for(job_id, "queued", seconds=60)
    worker.signal(signal.SIGTERM)  # and once more, as dramatiq's parent does anyway
    assert worker.process.wait(30) == 0
    job = user.job(job_id)
    assert user.events(job_id)[-1]["reason"] == "the worker is stopping"
    (row,) = sql("SELECT count(*) AS deleted FROM receipts WHERE is_deleted")
    assert row["deleted"] == job["processed"]
    assert job["processed"] % 50 == 0
    assert sql("SELECT stopped_at IS NOT NULL AS stopped FROM workers") == [{"stopped": True}] * processes

    start("worker", THROTTLE_MS=0)
    done = user.wait_for(job_id, "completed")
    assert (done["processed"], done["succeeded"]) == (2000, 2000)


def test_after_kill_9_another_worker_takes_the_job_over_from_its_last_batch(owner, start) -> None:
    user = owner(2000)
    first = start("worker")
    job_id = user.start()
    user.wait_for_progress(job_id)
    start("worker", THROTTLE_MS=0)
    first.signal(signal.SIGKILL)
    job = user.wait_for(job_id, "completed", seconds=60)
    assert (job["processed"], job["succeeded"]) == (2000, 2000)
    assert "recovered" in [event["event"] for event in user.events(job_id)]


def test_after_kill_9_the_api_tells_the_truth_with_no_worker_and_a_restart_goes_on(owner, start) -> None:
    user = owner(1000)
    worker = start("worker")
    job_id = user.start()
    before = user.wait_for_progress(job_id)
    worker.signal(signal.SIGKILL)
    status = user.wait_for(job_id, "queued", seconds=60)
    assert status["processed"] >= before["processed"]
    start("worker", THROTTLE_MS=0)
    assert user.wait_for(job_id, "completed")["succeeded"] == 1000


@pytest.mark.scale
def test_a_stopped_worker_loses_its_job_within_20_s_and_changes_nothing_afterwards(owner, start, sql) -> None:
    user = owner(3000)
    frozen = start("worker")
    job_id = user.start()
    user.wait_for_progress(job_id)
    frozen.signal(signal.SIGSTOP)
    start("worker", THROTTLE_MS=50)
    wait_until(lambda: "recovered" in [event["event"] for event in user.events(job_id)], 30, "the takeover")
    user.wait_for_progress(job_id, beyond=user.job(job_id)["processed"])
    frozen.signal(signal.SIGCONT)
    job = user.wait_for(job_id, "completed")
    assert (job["processed"], job["succeeded"], job["failed_count"]) == (3000, 3000, 0)
    assert sql("SELECT count(*) AS n FROM receipts WHERE is_deleted") == [{"n": 3000}]
    wait_until(lambda: frozen.lines("job.claim_lost") or frozen.lines("job.abandoned"), 30, "the zombie to notice")


def test_no_secret_is_in_any_log(owner, start, environment, make) -> None:
    user = owner(5)
    worker = start("worker")
    user.wait_for(user.start(), "completed")
    worker.stop()
    for log in worker.log.parent.glob("*.log"):
        for secret in (environment["AWS_SECRET_ACCESS_KEY"], "lh_"):
            assert secret not in log.read_text()


def test_a_child_whose_parent_was_killed_ends_and_its_job_goes_on_elsewhere(start, owner, sql) -> None:
    """Nobody would ever stop it, and the platform would start another beside it."""
    mine = owner(400)
    job_id = mine.start()
    worker = start("worker", BATCH_SIZE=10, THROTTLE_MS=100)
    wait_until(lambda: mine.job(job_id)["processed"] > 0, 30, "the job to move")
    children = psutil.Process(worker.process.pid).children()
    worker.process.kill()  # the parent alone
    worker.process.wait(30)
    wait_until(lambda: not any(child.is_running() for child in children), 30, "the child to end")
    start("worker", THROTTLE_MS=0)
    wait_until(lambda: mine.job(job_id)["status"] == "completed", 30, "the job to be done elsewhere")
    assert mine.job(job_id)["succeeded"] == 400
