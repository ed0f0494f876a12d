"""What the sweep's functions do to jobs whose worker is dead, that are stale, or that nothing would wake."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from service.local.processes import wait_until


def minutes_ago(minutes: float) -> datetime:
    return datetime.now(UTC) - timedelta(minutes=minutes)


def test_a_live_worker_is_one_whose_session_holds_its_lock(engine, sql, worker_id) -> None:
    assert sql("SELECT live_workers() AS id") == [{"id": worker_id}]


def test_a_worker_that_comes_during_a_transaction_is_alive_in_it(engine, sql) -> None:
    """Postgres looks at its sessions once per transaction, unless told to look again."""
    alive = text("SELECT * FROM live_workers()")
    with engine.connect() as sweeper, sweeper.begin():
        assert sweeper.execute(alive).all() == []
        with engine.connect() as worker:
            worker.execute(text("SELECT pg_advisory_lock(worker_lock_space(), 7)"))
            assert sweeper.execute(alive).scalars().all() == [7]
            worker.invalidate()


def test_a_worker_is_dead_as_soon_as_its_session_is_gone(engine, sql) -> None:
    with engine.connect() as session:
        session.execute(text("SELECT pg_advisory_lock(worker_lock_space(), 77)"))
        assert sql("SELECT live_workers() AS id") == [{"id": 77}]
        session.invalidate()
    wait_until(lambda: sql("SELECT live_workers() AS id") == [], 30, "the server to notice")


def test_a_session_that_only_waits_for_a_workers_lock_is_no_worker(engine, sql) -> None:
    lock = text("SELECT pg_advisory_lock(worker_lock_space(), 77)")
    with engine.connect() as holder, engine.connect() as waiting, ThreadPoolExecutor() as pool:
        holder.execute(lock)
        waits = pool.submit(waiting.execute, lock)
        in_vain = """SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                     WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted"""
        try:
            wait_until(lambda: sql(in_vain), 30, "the second session to wait")
            assert sql("SELECT live_workers() AS id") == [{"id": 77}]
        finally:
            holder.invalidate()
            waits.result(30)
            waiting.invalidate()


def test_locks_of_other_programs_and_other_databases_are_no_workers(engine, sql, servers) -> None:
    from sql.engine import make_engine

    elsewhere = make_engine(servers["DATABASE_URL"], application_name="other")
    with engine.connect() as one, elsewhere.connect() as two:
        one.execute(
            text("SELECT pg_advisory_lock(worker_lock_space()), pg_advisory_lock(1819242088, 5), pg_advisory_lock(-1)")
        )
        two.execute(text("SELECT pg_advisory_lock(worker_lock_space(), 9)"))
        assert sql("SELECT live_workers()") == []
        two.invalidate()
        one.invalidate()
    elsewhere.dispose()


def test_a_job_of_a_dead_worker_goes_back_to_the_queue_from_its_cursor(make, sql, job_row, events) -> None:
    sql("INSERT INTO workers (id, hostname, pid, queues, release) VALUES (9, 'dyno-3', 123, '{}', '')")
    job_id = make.job(status="running", worker_id=9, cursor={"last_id": 50}, processed=50, succeeded=50)
    assert [row["id"] for row in sql("SELECT id FROM recover_jobs()")] == [job_id]
    row = job_row(job_id)
    assert (row["status"], row["cursor"], row["processed"]) == ("queued", {"last_id": 50}, 50)
    (told,) = events(job_id)
    assert (told["event"], told["worker_id"]) == ("recovered", 9)
    assert told["reason"] == "worker 9 died"
    assert sql("SELECT state FROM dramatiq.queue WHERE message_id = :id", id=row["message_id"]) == [{"state": "queued"}]


def test_a_job_of_a_live_worker_and_one_of_no_worker_are_left_alone(make, sql, worker_id) -> None:
    make.job(status="running", worker_id=worker_id)
    make.job(status="running", worker_id=None)
    assert sql("SELECT * FROM recover_jobs()") == []


def test_recovery_of_one_business_leaves_the_others_alone(make, sql, job_row) -> None:
    mine = make.job(status="running", worker_id=9)
    other = make.job(status="running", worker_id=9)
    sql("SELECT recover_jobs(:b)", b=job_row(mine)["business_id"])
    assert [job_row(mine)["status"], job_row(other)["status"]] == ["queued", "running"]


@pytest.mark.parametrize(("requested", "ends"), [("cancel", "cancelled"), ("pause", "paused")])
def test_recovery_honours_what_was_asked_of_the_dead_worker(requested, ends, make, sql, job_row) -> None:
    job_id = make.job(status="running", worker_id=9, requested=requested)
    sql("SELECT recover_jobs()")
    assert job_row(job_id)["status"] == ends


def test_the_third_loss_in_a_row_fails_a_job_and_a_checkpoint_starts_the_count_anew(make, sql, job_row) -> None:
    job_id = make.job(cursor={"last_id": 8})

    def lose() -> str:
        sql("SELECT claim_job(:id, 9, 50)", id=job_id)
        sql("SELECT recover_jobs()")
        return job_row(job_id)["status"]

    assert [lose(), lose()] == ["queued", "queued"]
    sql("UPDATE background_jobs SET recoveries = 0")  # what a checkpoint does
    assert [lose(), lose(), lose()] == ["queued", "queued", "failed"]
    assert job_row(job_id)["last_error"] == (
        'worker 9 died, the third in a row at cursor {"last_id": 8} with batches of 50'
    )


@pytest.mark.parametrize(("minutes", "state", "losses"), [(60 * 24 * 365, "queued", 2), (0, "rejected", 3)])
def test_a_restart_of_postgres_brings_a_message_not_one_loss_nearer_to_its_end(minutes, state, losses, sql) -> None:
    sql("""INSERT INTO dramatiq.queue (message_id, queue_name, state, message, worker_id, losses, mtime)
           VALUES (gen_random_uuid(), 'low', 'consumed', '{}', 9, 2, :at)""", at=minutes_ago(minutes))  # fmt: skip
    assert sql("SELECT recover_messages() AS n") == [{"n": 1}]
    assert sql("SELECT state::text, losses FROM dramatiq.queue") == [{"state": state, "losses": losses}]


@pytest.mark.parametrize(
    ("losses", "message", "delayed"),
    [
        (0, '{"options": {}}', False),
        (1, '{"options": {}}', True),
        (1, "{}", False),  # no message: whoever claims it rejects it
        (1, '{"options": []}', False),
    ],
)
def test_the_last_try_of_a_message_that_was_lost_twice_comes_half_a_minute_later(losses, message, delayed, sql) -> None:
    sql("""INSERT INTO dramatiq.queue (message_id, queue_name, state, message, worker_id, losses, mtime)
           VALUES (gen_random_uuid(), 'low', 'consumed', CAST(:message AS jsonb), 9, :losses, now())""",
        message=message, losses=losses)  # fmt: skip
    sql("SELECT recover_messages()")
    (row,) = sql("""SELECT state::text, queue_name AS queue, message,
                           eta / 1000 - extract(epoch FROM now()) AS seconds FROM dramatiq.queue""")
    assert row["state"] == "queued"
    if not delayed:
        assert (row["queue"], row["seconds"], row["message"]) == ("low", None, json.loads(message))
        return
    assert row["queue"] == "low.DQ"
    assert 25 < row["seconds"] <= 30
    sql("UPDATE dramatiq.queue SET message = jsonb_set(message, '{options,eta}', '1')")
    assert sql("SELECT enqueue_due_messages() AS n") == [{"n": 1}]
    assert sql("SELECT queue_name AS queue, losses, eta FROM dramatiq.queue") == [
        {"queue": "low", "losses": 2, "eta": None}
    ]


def test_due_messages_are_all_counted_though_one_of_them_cannot_be_moved(sql) -> None:
    sql("""INSERT INTO dramatiq.queue (message_id, queue_name, state, message)
           SELECT gen_random_uuid(), 'low.DQ', 'queued', jsonb_build_object('n', n, 'options',
                                                                       jsonb_build_object('eta', n))
           FROM generate_series(1, 3) n""")
    sql("""CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
           CREATE TRIGGER refuse BEFORE UPDATE ON dramatiq.queue FOR EACH ROW
               WHEN (old.message -> 'n' = '2') EXECUTE FUNCTION refuse()""")
    assert sql("SELECT enqueue_due_messages() AS n") == [{"n": 2}]
    assert sql("SELECT message -> 'n' AS n FROM dramatiq.queue WHERE queue_name = 'low' ORDER BY 1") == [
        {"n": 1},
        {"n": 3},
    ]


def test_a_loss_that_a_restart_of_postgres_caused_does_not_count(make, sql, job_row) -> None:
    job_id = make.job(status="running", worker_id=9, recoveries=2, heartbeat_at=minutes_ago(60 * 24 * 365))
    sql("SELECT recover_jobs()")  # the server was started after that heartbeat
    assert (job_row(job_id)["status"], job_row(job_id)["recoveries"]) == ("queued", 2)


@pytest.mark.parametrize(
    ("column", "minutes", "reason"),
    [
        ("heartbeat_at", 3, r"no heartbeat for 18\d s"),
        ("heartbeat_at", 2.005, r"no heartbeat for 12\d s"),
        ("updated_at", 6, r"no update for 36\d s"),
    ],
)
def test_a_job_without_signs_of_life_fails_as_stale(column, minutes, reason, make, sql, job_row, worker_id) -> None:
    job_id = make.job(status="running", worker_id=worker_id, **{column: minutes_ago(minutes)})
    sql("SELECT fail_stale_jobs('delete_receipts', 120, 300)")
    row = job_row(job_id)
    assert row["status"] == "failed"
    assert re.match(f"Server restarted / job heartbeat lost: {reason}", row["last_error"])


def test_a_fresh_job_and_one_of_another_type_are_not_stale(make, sql, worker_id) -> None:
    make.job(status="running", worker_id=worker_id, heartbeat_at=minutes_ago(1.9), updated_at=minutes_ago(4.9))
    make.job(status="running", worker_id=worker_id, heartbeat_at=minutes_ago(9), job_type="sync_receipts")
    assert sql("SELECT * FROM fail_stale_jobs('delete_receipts', 120, 300)") == []


def test_a_queued_job_that_nothing_would_wake_gets_a_message(make, sql, job_row) -> None:
    never, done, waiting = make.job(), make.job(), make.job()
    for job_id in (done, waiting):
        sql("SELECT send_job_message(:id)", id=job_id)
    sql("UPDATE dramatiq.queue SET state = 'done' WHERE message_id = :id", id=job_row(done)["message_id"])
    kept = job_row(waiting)["message_id"]
    assert [row["id"] for row in sql("SELECT id FROM resend_lost_messages()")] == [never, done]
    assert sql("SELECT id FROM resend_lost_messages()") == []
    assert job_row(waiting)["message_id"] == kept


def test_the_session_of_a_worker_that_stood_still_is_ended_when_its_jobs_are_taken(make, engine, sql) -> None:
    with engine.connect() as session:
        session.execute(text("SELECT pg_advisory_lock(worker_lock_space(), 77)"))
        sql("CREATE OR REPLACE FUNCTION live_workers() RETURNS SETOF integer LANGUAGE sql AS 'SELECT 0 WHERE false'")
        make.job(status="running", worker_id=77)
        sql("SELECT recover_jobs()")
        with pytest.raises(DBAPIError):
            session.execute(text("SELECT 1"))
        session.invalidate()


def test_so_it_is_when_its_messages_are_taken(engine, sql) -> None:
    with engine.connect() as session:
        session.execute(text("SELECT pg_advisory_lock(worker_lock_space(), 77)"))
        sql("CREATE OR REPLACE FUNCTION live_workers() RETURNS SETOF integer LANGUAGE sql AS 'SELECT 0 WHERE false'")
        sql("""INSERT INTO dramatiq.queue (message_id, queue_name, state, worker_id, message)
               VALUES (gen_random_uuid(), 'low', 'consumed', 77, '{}')""")
        assert sql("SELECT recover_messages() AS n") == [{"n": 1}]
        with pytest.raises(DBAPIError):
            session.execute(text("SELECT 1"))
        session.invalidate()


def test_two_sweeps_at_once_do_not_recover_a_job_twice(make, engine, sql, events) -> None:
    job_id = make.job(status="running", worker_id=9)
    with engine.begin() as first, engine.begin() as second:
        assert len(first.execute(text("SELECT * FROM recover_jobs()")).all()) == 1
        assert second.execute(text("SELECT * FROM recover_jobs()")).all() == []
    assert len(events(job_id)) == 1


def test_the_release_before_finds_the_names_that_it_knows(make, sql) -> None:
    job_id = make.job()
    assert [row["id"] for row in sql("SELECT id FROM wake_queued_jobs()")] == [job_id]
    sql(
        """INSERT INTO dramatiq.queue (message_id, queue_name, state, message)
           VALUES (gen_random_uuid(), 'low.DQ', 'queued', '{"options": {"eta": 1}}')""".replace(":", r"\:")
    )
    assert sql("SELECT release_due_messages() AS n") == [{"n": 1}]
    sql("UPDATE dramatiq.queue SET state = 'consumed', worker_id = 9, delivery = 1 WHERE queue_name = 'low'")
    (message,) = sql("SELECT message_id::text AS id FROM dramatiq.queue WHERE queue_name = 'low'")
    ended = sql("""SELECT settle_messages(9, CAST(ARRAY[:id] AS uuid[]), ARRAY[1], ARRAY['done'],
                                          CAST(ARRAY[NULL] AS jsonb[]))::text AS id""", id=message["id"])  # fmt: skip
    assert ended == [message]
