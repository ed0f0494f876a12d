"""Whether the work is being done, as live workers show it."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from actors.runtime.base.config import QUEUES
from actors.runtime.jobs.kinds import load_kinds
from actors.runtime.worker.sweep import sweep


@pytest.fixture(autouse=True)
def each_look_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.shared_answer.SECONDS", 0)


@pytest.fixture
def swept(engine, settings):
    with engine.connect() as connection:
        sweep(connection, load_kinds().values(), settings)


@pytest.fixture
def listening(worker_id, sql):
    sql("UPDATE workers SET queues = '{maintenance, high}', kinds = '{delete_receipts}'")
    return worker_id


def start(sql, make) -> int:
    job = "SELECT id FROM start_job(:b, 'delete_receipts', 'maintenance', '{}', 3, 7, 'user:7')"
    return sql(job, b=make.business())[0]["id"]


def test_it_is_healthy_while_workers_take_what_waits(api, make, listening, swept, sql) -> None:
    start(sql, make)
    make.job(status="running", worker_id=listening)
    sql("INSERT INTO dramatiq.queue (message_id, queue_name, state, mtime) VALUES "
        "(gen_random_uuid(), 'maintenance', 'done', now()), (gen_random_uuid(), 'maintenance', 'rejected', now()), "
        "(gen_random_uuid(), 'maintenance', 'done', now() - interval '2 hours')")  # fmt: skip
    answer = api(make.business(), "member").get("/api/jobs/health")
    assert answer.status_code == 200, answer.json
    queue = answer.json["queues"]["maintenance"]
    assert queue.pop("oldest_age_seconds") in range(30)
    assert queue == {
        "waiting": 1,
        "running": 1,
        "snoozed": 0,
        "workers": 1,
        "queued": 1,
        "started": 0,
        "finished": 1,
        "failed": 1,
    }
    assert answer.json["stale_jobs"] == 0
    assert answer.json["sweep_age_seconds"] <= 30
    assert answer.json["worker_config"]["listens_to_maintenance"] is True


def test_work_that_no_live_worker_takes_is_a_503_and_a_snooze_is_not(api, make, worker_id, swept, sql) -> None:
    sql("UPDATE workers SET queues = '{high}'")
    caller = api(make.business())
    assert caller.get("/api/jobs/health").status_code == 200
    later = datetime.now(UTC) + timedelta(hours=1)
    snoozed = make.job(wait_until=later, waiting_for="a quota")
    sql("SELECT send_job_message(:id)", id=snoozed)
    answer = caller.get("/api/jobs/health")
    assert (answer.status_code, answer.json["queues"]["maintenance"]["snoozed"]) == (200, 1)
    start(sql, make)
    answer = caller.get("/api/jobs/health")
    assert (answer.status_code, answer.json["code"]) == (503, "queue_left_alone")
    assert answer.json["error"] == "Work waits in maintenance, but no live worker takes from there"
    assert answer.json["queues"]["maintenance"]["waiting"] == 1
    sql("UPDATE workers SET queues = '{maintenance}'")
    assert caller.get("/api/jobs/health").status_code == 200


def test_a_queued_job_whose_message_is_lost_counts_as_work_that_waits(api, make, swept) -> None:
    make.job()
    assert api(make.business()).get("/api/jobs/health").json["code"] == "queue_left_alone"


def test_no_sweep_for_a_minute_is_a_503(api, make, sql, swept) -> None:
    caller = api(make.business())
    assert caller.get("/api/jobs/health").status_code == 200
    sql("UPDATE watched_clock SET swept_at = now() - interval '70 s'")
    answer = caller.get("/api/jobs/health")
    assert (answer.status_code, answer.json["code"]) == (503, "no_sweep")
    assert answer.json["error"].startswith("No sweep has run for 7")
    sql("UPDATE watched_clock SET swept_at = NULL")
    assert caller.get("/api/jobs/health").json["code"] == "no_sweep"


def test_a_stale_job_is_counted(api, make, worker_id, swept) -> None:
    make.job(status="running", worker_id=worker_id, heartbeat_at=datetime.now(UTC) - timedelta(minutes=5))
    assert api(make.business()).get("/api/jobs/health").json["stale_jobs"] == 1


def test_the_configuration_is_that_of_live_workers_and_their_hosts_are_for_operators(api, make, engine, sql) -> None:
    business_id = make.business()
    answer = api(business_id, "member").get("/api/jobs/worker/config").json
    assert (answer["configured_queues"], answer["listens_to_maintenance"], answer["workers"]) == ([], False, [])
    assert answer["all_known_queues"] == list(QUEUES)
    with engine.connect() as connection:
        with connection.begin():
            statement = "INSERT INTO workers (hostname, pid, queues, release) VALUES ('dyno7', 42, :q, '') RETURNING id"
            worker = connection.execute(text(statement), {"q": ["maintenance", "high"]}).scalar_one()
            connection.execute(text("SELECT pg_advisory_lock(worker_lock_space(), :id)"), {"id": worker})
        answer = api(business_id, "member").get("/api/jobs/worker/config").json
        assert (answer["configured_queues"], answer["listens_to_maintenance"]) == (["high", "maintenance"], True)
        assert [(one["worker_id"], one["host"], one["pid"]) for one in answer["workers"]] == [(worker, None, None)]
        answer = api(None, "operator").get("/api/jobs/worker/config").json
        assert [(one["host"], one["pid"]) for one in answer["workers"]] == [("dyno7", 42)]
        connection.invalidate()


@pytest.mark.parametrize("path", ["/api/jobs/health", "/api/jobs/worker/config"])
def test_neither_is_told_without_a_token(path, api) -> None:
    assert api().get(path).status_code == 401


def test_each_queue_is_told_with_what_waits_what_is_taken_and_who_listens(make, sql, workers_are) -> None:
    workers_are({1: "14 s", 2: None, 3: "16 s"}, queues="{default,high}")
    now = datetime.now(UTC)
    for name, state, minutes in (
        ("low", "queued", 5), ("low", "queued", 9), ("low", "done", 60), ("low.DQ", "queued", 70),
        ("lowXDQ", "queued", 1), ("high", "consumed", 3), ("high", "consumed", 3), ("high", "done", 3),
        ("broadcasts", "consumed", 1),
    ):  # fmt: skip
        sql(
            "INSERT INTO dramatiq.queue (message_id, queue_name, state, mtime) VALUES (gen_random_uuid(), :n, :s, :at)",
            n=name, s=state, at=now - timedelta(minutes=minutes),
        )  # fmt: skip
    sql("UPDATE dramatiq.queue SET result = '1' WHERE queue_name = 'low' AND mtime = :at",
        at=now - timedelta(minutes=5))  # fmt: skip  # now it is the last in the table
    for status, wait in (("queued", None), ("queued", -1), ("queued", 1), ("running", None), ("paused", None)):
        make.job(status=status, queue="receipts", wait_until=None if wait is None else now + timedelta(hours=wait))
    for _ in range(2):
        make.job(status="completed", queue="recordings")
    names = ("waiting", "delayed", "taken", "workers", "jobs_waiting", "jobs_snoozed", "jobs_running")
    rows = sql("SELECT * FROM queue_states()")
    assert [(row["queue"], *(row[name] for name in names)) for row in rows] == [
        ("broadcasts", 0, 0, 1, 0, 0, 0, 0),
        ("default", 0, 0, 0, 2, 0, 0, 0),
        ("high", 0, 0, 2, 2, 0, 0, 0),
        ("low", 2, 1, 0, 0, 0, 0, 0),
        ("lowXDQ", 1, 0, 0, 0, 0, 0, 0),
        ("receipts", 0, 0, 0, 0, 2, 1, 1),
    ]
    oldest = {row["queue"]: row["oldest_waiting"] and row["oldest_waiting"].total_seconds() // 60 for row in rows}
    assert oldest == {"broadcasts": None, "default": None, "high": None, "low": 5, "lowXDQ": 1, "receipts": None}


def test_a_worker_counts_as_alive_until_it_has_been_silent_for_15_s(sql, workers_are) -> None:
    """Or if it may not be seen how long."""
    workers_are({1: "14.9 s", 2: "15 s", 3: None, 4: "1 hour"})
    assert sorted(row["id"] for row in sql("SELECT live_workers() AS id")) == [1, 3]


def test_a_snooze_that_is_over_during_a_transaction_is_over_in_it(make, engine, sql) -> None:
    job = make.job(queue="receipts")
    with engine.begin() as session:
        session.execute(text("UPDATE background_jobs SET wait_until = clock_timestamp() WHERE id = :id"), {"id": job})
        found = session.execute(text("SELECT queue, jobs_waiting, jobs_snoozed FROM queue_states()")).all()
    assert found == [("receipts", 1, 0)]
