"""Postgres, the network or the bucket go away and come back: every job goes on by itself, and says so meanwhile."""

import signal
from threading import Event

import pytest
from sqlalchemy.exc import DBAPIError

from actors.runtime.messages.prefetch import MOST
from service.local.processes import wait_until
from sql.url import database_name
from tests.system.outages.breakable import FORBIDDEN, SLOW_DOWN, Proxy
from tests.system.outages.pooling import PoolingProxy


@pytest.fixture
def exact(sql):
    """exact(user): as many receipts are deleted as the jobs of the business say, whatever happened."""

    def check(user) -> None:
        deleted = "SELECT count(*) AS n FROM receipts WHERE business_id = :b AND is_deleted"
        counted = "SELECT sum(processed)::int AS n FROM background_jobs WHERE business_id = :b AND failed_count = 0"
        assert sql(deleted, b=user.business_id) == sql(counted, b=user.business_id)

    return check


def status(job_id: int, sql) -> str:
    return sql("SELECT status FROM background_jobs WHERE id = :id", id=job_id)[0]["status"]


@pytest.mark.parametrize(
    "seconds", [4, pytest.param(30, marks=pytest.mark.scale), pytest.param(90, marks=pytest.mark.scale)]
)
def test_a_job_goes_on_by_itself_after_postgres_was_away(seconds, owner, start, between, exact) -> None:
    user = owner(3000)
    worker = start("worker", THROTTLE_MS=20)
    job_id = user.start()
    user.wait_for_progress(job_id)
    between.database.refuse()
    Event().wait(seconds)
    between.database.heal()
    job = user.wait_for(job_id, "completed", seconds=90)
    assert (job["processed"], job["succeeded"], job["failed_count"]) == (3000, 3000, 0)
    exact(user)
    assert worker.process.poll() is None


@pytest.mark.scale
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["restart", "crash"])
def test_a_postgres_that_restarts_three_times_costs_no_receipt_and_counts_as_no_loss(
    how, owner, start, postgres, exact, sql
) -> None:
    user = owner(3000)
    start("worker", THROTTLE_MS=20)
    start("worker", THROTTLE_MS=20)
    job_id = user.start()
    for _ in range(3):
        user.wait_for_progress(job_id, beyond=user.job(job_id)["processed"])
        postgres.stop(how)
        postgres.start()
        wait_until(lambda: answers(sql), 30, "Postgres to answer")
    job = user.wait_for(job_id, "completed", seconds=60)
    assert (job["processed"], job["succeeded"], job["failed_count"]) == (3000, 3000, 0)
    exact(user)


def answers(sql) -> bool:
    try:
        return bool(sql("SELECT 1"))
    except DBAPIError:
        return False


@pytest.mark.parametrize("messages", [2000, pytest.param(7000, marks=pytest.mark.scale)])
def test_messages_outlive_a_postgres_that_restarts_three_times(messages, inserting, postgres) -> None:
    workers = [inserting.start() for _ in range(2)]
    for _ in range(3):
        inserting.send_until_some_are_in_hand(messages)
        postgres.stop()
        postgres.start()
        wait_until(lambda: answers(inserting.sql), 30, "Postgres to answer")
    wait_until(inserting.all_done, 60, "all to be done")
    counted = inserting.effects()
    assert counted["messages"] == inserting.number
    assert counted["rows"] - inserting.number <= 3 * len(workers) * MOST  # only what was in hand
    assert all(process.poll() is None for process in workers)


def test_a_server_that_is_read_only_for_a_while_as_after_a_failover_is_waited_out(owner, start, exact, sql) -> None:
    """Sessions that began meanwhile stay read-only for as long as they live: none may live on."""
    user = owner(2000)
    start("worker", THROTTLE_MS=20)
    job_id = user.start()
    user.wait_for_progress(job_id)
    name = sql("SELECT current_database() AS name")[0]["name"]
    sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'longhaul worker%' "
        "OR application_name = 'longhaul web'")  # fmt: skip
    wait_until(lambda: user.client.get("/readyz").body.get("code") == "read_only", 30, "the web to know")
    Event().wait(2)
    sql(f"BEGIN; SET TRANSACTION READ WRITE; ALTER DATABASE {name} SET default_transaction_read_only = off")
    assert user.client.get("/readyz").status == 200
    job = user.wait_for(job_id, "completed")
    assert (job["processed"], job["succeeded"]) == (2000, 2000)
    exact(user)


def test_a_cancel_during_an_outage_ends_in_cancelled_with_exact_counters(owner, start, between, exact, sql) -> None:
    user = owner(20_000)
    worker = start("worker", THROTTLE_MS=20)
    job_id = user.start()
    user.wait_for_progress(job_id)
    between.database.refuse()
    wait_until(lambda: worker.lines("backoff"), 30, "the worker to meet the outage")
    sql("SELECT cancel_job(:id, 'dana')", id=job_id)
    asked = "SELECT status, requested, processed FROM background_jobs WHERE id = :id"
    (before,) = sql(asked, id=job_id)
    tries = len(worker.lines("backoff"))
    wait_until(lambda: len(worker.lines("backoff")) > tries, 30, "another try in vain")
    assert sql(asked, id=job_id) == [before]
    assert (before["status"], before["requested"]) == ("running", "cancel"), "the worker cannot have heard of it"
    between.database.heal()
    job = user.wait_for(job_id, "cancelled")
    assert job["processed"] == before["processed"], "no batch more"
    assert 0 < job["processed"] < 20_000
    exact(user)


@pytest.mark.scale
def test_a_black_hole_costs_a_worker_its_job_within_20_s_and_no_late_write_counts(
    owner, start, between, environment, exact, sql
) -> None:
    user = owner(3000)
    worker = start("worker", THROTTLE_MS=50)
    job_id = user.start()
    user.wait_for_progress(job_id)
    between.database.swallow()
    start("worker", THROTTLE_MS=50, DATABASE_URL=environment["DATABASE_URL"])
    taken = "SELECT FROM job_events WHERE event = 'recovered'"
    wait_until(lambda: sql(taken), 30, "the takeover")
    between.database.heal()
    wait_until(lambda: status(job_id, sql) == "completed", 60, "the end")
    assert user.wait_for(job_id, "completed")["processed"] == 3000
    exact(user)
    assert worker.process.poll() is None
    wait_until(lambda: len(worker.lines("worker.start")) > 1, 30, "a new identity")


def break_bucket(how: str, bucket: Proxy) -> None:
    match how:
        case "away":
            bucket.refuse()
        case "refusing":
            bucket.answer(FORBIDDEN)
        case "throttling":
            bucket.answer(SLOW_DOWN)
        case "slow":
            bucket.delay(30)
        case "silent":
            bucket.swallow()


@pytest.mark.parametrize(
    "how",
    ["away", *(pytest.param(how, marks=pytest.mark.scale) for how in ("refusing", "throttling", "slow", "silent"))],
)
def test_a_bucket_that_fails_does_not_hold_up_the_job_and_is_emptied_when_it_is_back(
    how, owner, start, make, between, bucket, sql, tmp_path
) -> None:
    user = owner(200)
    make.attachments(user.ids, tmp_path)
    worker = start("worker", THROTTLE_MS=0)
    wait_until(lambda: worker.lines("worker.start"), 30, "the worker")
    break_bucket(how, between.bucket)
    job_id = user.start()
    job = user.wait_for(job_id, "completed", seconds=60)
    assert job["succeeded"] == 200
    wait_until(lambda: user.job(job_id)["stats"]["attachments_failed"] == 200, 100, "the bucket to be tried")
    assert user.job(job_id)["stats"]["attachments_deleted"] == 0
    between.bucket.heal()
    sql("UPDATE attachments SET purge_after = now()")  # else it would be tried at longer and longer intervals
    wait_until(lambda: user.job(job_id)["stats"]["attachments_deleted"] == 200, 100, "the objects to go")
    assert bucket.keys() == []


@pytest.mark.parametrize("how", ["away", "throttling", pytest.param("silent", marks=pytest.mark.scale)])
def test_a_bucket_that_cannot_be_reached_does_not_keep_a_worker_from_starting(how, owner, start, between) -> None:
    user = owner(5)
    break_bucket(how, between.bucket)
    worker = start("worker")
    assert user.wait_for(user.start(), "completed", seconds=60)["succeeded"] == 5
    wait_until(lambda: worker.lines("bucket.unreachable"), 60, "the warning")


def test_a_postgres_that_is_down_at_start_is_said_within_seconds(start, between) -> None:
    between.database.refuse()
    worker = start("worker")
    assert worker.process.wait(30) == 1
    assert "DATABASE_URL: Postgres cannot be used" in worker.log.read_text()


def test_a_postgres_that_does_not_answer_at_start_is_said_within_seconds(start, between) -> None:
    between.database.swallow()
    worker = start("worker")
    assert worker.process.wait(30) == 1
    assert "DATABASE_URL: Postgres cannot be used" in worker.log.read_text()


@pytest.mark.parametrize("size", [1, 4])
def test_behind_a_proxy_that_pools_by_transaction_a_worker_refuses_to_start(size, start, postgres, environment) -> None:
    pool = PoolingProxy(postgres.socket, size)
    name = database_name(environment["DATABASE_URL"])
    try:
        worker = start("worker", DATABASE_URL=f"postgresql://postgres@127.0.0.1:{pool.port}/{name}")
        assert worker.process.wait(30) == 1
        assert "found a transaction-pooling proxy" in worker.log.read_text()
    finally:
        pool.close()


def test_with_all_workers_and_postgres_killed_the_status_is_true_and_users_can_go_on(
    owner, start, web, make, postgres, environment, exact, sql
) -> None:
    """The predecessor's users stared at "0 out of 412" for ever here."""
    user = owner(412)
    dynos = [start("worker", THROTTLE_MS=1000), start("worker", THROTTLE_MS=1000)]  # killed in the middle
    job_id = user.start()
    before = user.wait_for_progress(job_id)
    for dyno in dynos:
        dyno.signal(signal.SIGKILL)
    postgres.stop(signal.SIGQUIT)
    postgres.start()
    wait_until(lambda: answers(sql), 30, "Postgres to answer")

    status = user.client.get("/api/receipts/delete-job/status")
    assert (status.status, status.body["has_active_job"]) == (200, True)
    assert (status.body["job"]["status"], status.body["job"]["is_stale"]) == ("queued", False)
    assert status.body["job"]["processed"] >= before["processed"]
    exact(user)
    cancelled = user.client.post(f"/api/jobs/{job_id}/cancel")
    assert cancelled.body["status"] == "cancelled"
    again = user.start()
    assert user.job(again)["total"] == 412 - status.body["job"]["processed"]
    start("worker")
    user.wait_for(again, "completed")
    assert sql("SELECT count(*) AS n FROM receipts WHERE NOT is_deleted") == [{"n": 0}]
