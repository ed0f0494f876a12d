"""What the sweep's functions do to jobs whose worker is dead, that are stale, or that nothing would wake."""

import json
import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from service.local.processes import wait_until
from sql.engine import make_engine
from tests.actors.runtime.tiny import as_role
from tests.conftest import worker_at


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
    job_id = make.job(status="running", worker_id=9, cursor={"last_id": 50}, processed=50, succeeded=50, failures=3)
    assert [row["id"] for row in sql("SELECT id FROM recover_jobs()")] == [job_id]
    row = job_row(job_id)
    assert (row["status"], row["cursor"], row["processed"]) == ("queued", {"last_id": 50}, 50)
    assert row["failures"] == 0  # of a row that this death has ended
    (told,) = events(job_id)
    assert (told["event"], told["worker_id"]) == ("recovered", 9)
    assert told["reason"] == "worker 9 died"
    assert sql("SELECT state FROM dramatiq.queue WHERE message_id = :id", id=row["message_id"]) == [{"state": "queued"}]


def test_a_job_of_a_live_worker_and_one_of_no_worker_are_left_alone(make, sql, worker_id) -> None:
    make.job(status="running", worker_id=worker_id)
    make.job(status="running", worker_id=None)
    assert sql("SELECT * FROM recover_jobs()") == []


def test_recovery_of_one_job_or_one_business_leaves_the_others_alone(make, sql, job_row) -> None:
    business_id = make.business()
    mine, also_mine = (make.job(business_id, status="running", key=key, worker_id=9) for key in ("1", "2"))
    others = [make.job(status="running", worker_id=worker) for worker in (8, 9)]
    assert sql("SELECT id FROM recover_jobs(NULL, :id)", id=mine) == [{"id": mine}]
    assert sql("SELECT id FROM recover_jobs(:b, :id)", b=business_id, id=others[0]) == []
    assert sql("SELECT id FROM recover_jobs(:b)", b=business_id) == [{"id": also_mine}]
    assert [job_row(other)["status"] for other in others] == ["running", "running"]


@pytest.mark.parametrize(("requested", "ends"), [("cancel", "cancelled"), ("pause", "paused")])
def test_recovery_honours_what_was_asked_of_the_dead_worker(requested, ends, make, sql, job_row) -> None:
    job_id = make.job(status="running", worker_id=9, requested=requested)
    sql("SELECT recover_jobs()")
    assert job_row(job_id)["status"] == ends


def test_the_third_loss_in_a_row_fails_a_job_and_a_checkpoint_starts_the_count_anew(make, sql, job_row) -> None:
    job_id = make.job(cursor={"last_id": 8})

    sizes = iter([10, 20, 30, 40, 50])

    def lose() -> str:
        sql("SELECT claim_job(:id, 9, :size)", id=job_id, size=next(sizes))
        sql("SELECT recover_jobs()")
        return job_row(job_id)["status"]

    assert [lose(), lose()] == ["queued", "queued"]
    sql("UPDATE background_jobs SET recoveries = 0")  # what a checkpoint does
    assert [lose(), lose(), lose()] == ["queued", "queued", "failed"]
    assert job_row(job_id)["last_error"] == (
        'worker 9 died, the third in a row at cursor {"last_id": 8} with batches of 50'
    )


def test_a_job_without_a_cursor_and_without_a_word_of_its_claim_fails_too(make, sql, job_row) -> None:
    job_id = make.job(status="running", worker_id=9, recoveries=2)
    sql("UPDATE background_jobs SET heartbeat_at = clock_timestamp()")
    sql("SELECT recover_jobs()")
    assert job_row(job_id)["last_error"] == (
        "worker 9 died, the third in a row at cursor null with batches of unknown size"
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


def test_the_third_loss_is_told_with_the_last_batch_size_of_that_job(make, sql, job_row, events) -> None:
    job_id, unclaimed = make.job(cursor={"last_id": 8}), make.job(status="running", worker_id=9, recoveries=2)
    for size in (50, 25):
        sql("SELECT claim_job(:id, 9, :size)", id=job_id, size=size)
        sql("UPDATE background_jobs SET recoveries = 2 WHERE id = :id", id=job_id)
        if size == 50:
            sql("SELECT leave_running(:id, NULL, 'queued', 'requeued', 'worker:9', 'others wait')", id=job_id)
    sql("SELECT claim_job(:id, 9, 99)", id=make.job())
    sql("SELECT recover_jobs()")
    lost = "worker 9 died, the third in a row at cursor"
    assert job_row(job_id)["last_error"] == f'{lost} {{"last_id": 8}} with batches of 25'
    assert job_row(unclaimed)["last_error"] == f"{lost} null with batches of unknown size"
    (told,) = events(unclaimed)
    assert (told["event"], told["actor"], told["reason"]) == ("failed", "sweep", job_row(unclaimed)["last_error"])


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"stale_after": "10 hours", "heartbeat_at": minutes_ago(5)}, None),
        ({"unchanged_after": "10 hours", "updated_at": minutes_ago(8)}, None),
        ({"stale_after": "40 s", "heartbeat_at": minutes_ago(1)}, "no heartbeat for"),
        ({"unchanged_after": "40 s", "updated_at": minutes_ago(1)}, "no update for"),
    ],
)
def test_the_limits_that_a_claim_has_stored_go_first(columns, reason, make, sql, job_row, worker_id) -> None:
    job_id = make.job(status="running", worker_id=worker_id, **columns)
    sql("SELECT fail_stale_jobs('delete_receipts', 120, 300)")
    row = job_row(job_id)
    assert row["status"] == ("failed" if reason else "running")
    if reason:
        seconds = int(re.fullmatch(f"Server restarted / job heartbeat lost: {reason} (\\d+) s", row["last_error"])[1])
        assert 60 <= seconds < 3600


def test_stale_jobs_of_one_business_or_one_job_are_failed_alone(make, sql, job_row, worker_id) -> None:
    business_id = make.business()
    stale = {"status": "running", "worker_id": worker_id, "heartbeat_at": minutes_ago(9)}
    mine, also_mine, other = make.job(business_id, **stale), make.job(business_id, key="2", **stale), make.job(**stale)
    fail = "SELECT id FROM fail_stale_jobs('delete_receipts', 120, 300, {})"
    assert sql(fail.format(f"NULL, {mine}")) == [{"id": mine}]
    assert sql(fail.format(business_id)) == [{"id": also_mine}]
    assert sql(fail.format(f"{business_id}, {other}")) == []
    assert job_row(other)["status"] == "running"


def test_what_is_held_by_somebody_is_left_to_the_next_round_and_not_waited_for(make, engine, sql, worker_id) -> None:
    stale, waiting = make.job(status="running", worker_id=worker_id, heartbeat_at=minutes_ago(9)), make.job()
    message = """INSERT INTO dramatiq.queue (message_id, queue_name, state, worker_id, message)
                 VALUES (gen_random_uuid(), :name, :state, :worker, CAST(:message AS jsonb))"""
    sql(message, name="low", state="consumed", worker=9, message="{}")
    sql(message, name="low.DQ", state="queued", worker=None, message='{"options": {"eta": 1}}')
    gone = json.dumps({"actor_name": "delete_receipts", "args": [404]})
    sql(message, name="maintenance", state="queued", worker=None, message=gone)
    rounds = {
        "SELECT id FROM fail_stale_jobs(NULL, 120, 300)": stale,
        "SELECT id FROM resend_lost_messages()": waiting,
        "SELECT recover_messages()": 1,
        "SELECT enqueue_due_messages()": 1,
        "SELECT drop_stale_messages('{maintenance}', '{delete_receipts}', 5)": 1,
    }

    def found(does: str) -> list[int]:
        with engine.begin() as session:
            session.execute(text("SET LOCAL lock_timeout = '1s'"))
            return [number for number in session.scalars(text(does)) if number]

    with engine.begin() as somebody:
        somebody.execute(text("SELECT FROM background_jobs FOR UPDATE"))
        somebody.execute(text("SELECT FROM dramatiq.queue FOR UPDATE"))
        assert [found(does) for does in rounds] == [[]] * len(rounds)
    assert [found(does) for does in rounds] == [[number] for number in rounds.values()]


@pytest.mark.parametrize(
    ("worker", "state", "minutes", "is_sent"),
    [
        (None, "consumed", 14, False),  # a stock consumer has it
        (None, "consumed", 16, True),  # … and has died with it
        (9, "consumed", 16, False),  # the sweep knows whether that worker lives
        (9, "done", 0, True),
        (None, "queued", 16, False),
    ],
)
def test_a_job_whose_message_is_in_hands_is_sent_none(worker, state, minutes, is_sent, make, sql) -> None:
    job_id = make.job()
    sql("SELECT send_job_message(:id)", id=job_id)
    sql("UPDATE dramatiq.queue SET state = CAST(:state AS dramatiq.state), worker_id = :worker, mtime = :at",
        state=state, worker=worker, at=minutes_ago(minutes))  # fmt: skip
    assert [row["id"] for row in sql("SELECT id FROM resend_lost_messages()")] == ([job_id] if is_sent else [])


@pytest.mark.parametrize(
    ("resends", "seconds", "is_sent"),
    [
        (1, 1.5, False),
        (1, 2.5, True),
        (6, 55, False),
        (6, 60.5, True),
        (5000, 55, False),
        (5000, 60.5, True),
        (3, -5, True),
    ],
)
def test_after_a_minute_at_the_latest_another_is_sent(resends, seconds, is_sent, make, sql, job_row) -> None:
    """Also if the clock was set back meanwhile."""
    job_id, other = make.job(resends=resends, resent_at=minutes_ago(seconds / 60)), make.job()
    sent = [row["id"] for row in sql("SELECT id FROM resend_lost_messages()")]
    assert sent == ([job_id, other] if is_sent else [other])
    assert (job_row(job_id)["resends"], job_row(other)["resends"]) == (resends + is_sent, 1)


def test_a_thousand_lost_messages_are_sent_in_one_round_the_oldest_first(make, sql) -> None:
    first = make.job()
    sql(
        """INSERT INTO background_jobs (business_id, job_type, queue, actor, params, key)
           SELECT business_id, job_type, queue, actor, params, n::text
           FROM background_jobs, generate_series(1, 1000) n""".replace("::", r"\:\:")
    )
    sent = sql("SELECT count(*) AS n, max(id) - min(id) AS span, min(id) AS first FROM resend_lost_messages()")
    assert sent == [{"n": 1000, "span": 999, "first": first}]


def test_a_message_that_is_put_back_names_no_worker_and_is_as_new_as_its_loss(sql) -> None:
    sql("""INSERT INTO dramatiq.queue (message_id, queue_name, state, message, worker_id, losses, mtime)
           SELECT gen_random_uuid(), 'low', 'consumed', '{"options": {}}', 9, n, now() FROM generate_series(0, 2) n""")
    before = datetime.now(UTC)
    sql("SELECT recover_messages()")
    rows = sql("SELECT losses, queue_name, state::text, worker_id, reason, mtime FROM dramatiq.queue ORDER BY losses")
    assert all(row.pop("mtime") >= before for row in rows)
    assert [tuple(row.values()) for row in rows] == [
        (1, "low", "queued", None, None),
        (2, "low.DQ", "queued", None, None),
        (3, "low", "rejected", None, "worker 9 died, the third in a row"),
    ]


def test_a_restart_of_postgres_delays_no_message_either(sql) -> None:
    sql("""INSERT INTO dramatiq.queue (message_id, queue_name, state, message, worker_id, losses, mtime)
           VALUES (gen_random_uuid(), 'low', 'consumed', '{"options": {}}', 9, 1, :at)""",
        at=minutes_ago(60 * 24 * 365))  # fmt: skip
    sql("SELECT recover_messages()")
    assert sql("SELECT queue_name, losses FROM dramatiq.queue") == [{"queue_name": "low", "losses": 1}]


STALE_OR_NOT = [  # name of the queue, state, actor, argument, options; is it dropped?
    ("maintenance", "queued", "delete_receipts", "ended", {}, True),
    ("maintenance", "queued", "delete_receipts", "other", {}, True),  # that one waits for another message
    ("maintenance", "queued", "delete_receipts", 404_404_404, {}, True),
    ("maintenance", "queued", "delete_receipts", "own", {}, False),
    ("maintenance", "queued", "delete_receipts", "404", {}, False),  # a text names no job
    ("maintenance", "queued", "delete_receipts", 4.5, {}, False),
    ("maintenance", "queued", "somebody_elses", 404, {}, False),
    ("maintenance", "queued", "delete_receipts", 404, {"eta": 1}, False),  # not yet where workers look
    ("maintenance", "consumed", "delete_receipts", 404, {}, False),
    ("low", "queued", "delete_receipts", 404, {}, False),
]


def test_messages_are_dropped_only_if_they_can_start_no_job_any_more(make, sql) -> None:
    jobs = {"ended": make.job(status="completed"), "other": make.job(), "own": make.job()}
    for place, (queue, state, actor, argument, options, _) in enumerate(STALE_OR_NOT):
        message = {"actor_name": actor, "args": [jobs.get(argument, argument)], "options": options, "place": place}
        (row,) = sql(
            """INSERT INTO dramatiq.queue (message_id, queue_name, state, message)
               VALUES (gen_random_uuid(), :queue, :state, CAST(:message AS jsonb)) RETURNING message_id""",
            queue=queue, state=state, message=json.dumps(message),
        )  # fmt: skip
        if argument in ("own", "ended"):
            sql("UPDATE background_jobs SET message_id = :m WHERE id = :id", m=row["message_id"], id=jobs[argument])
    drop = "SELECT drop_stale_messages('{maintenance}', '{delete_receipts}', :most) AS n"
    sql("UPDATE dramatiq.queue SET mtime = now() WHERE message -> 'place' = '0'")  # now it is the last in the table
    assert sql(drop, most=1) == [{"n": 1}]
    assert sql("SELECT min((message -> 'place')::int) AS first FROM dramatiq.queue".replace(":", r"\:")) == [
        {"first": 1}
    ]
    assert sql(drop, most=100) == [{"n": 2}]
    left = sql("SELECT message -> 'place' AS place FROM dramatiq.queue ORDER BY seq")
    assert [row["place"] for row in left] == [place for place, one in enumerate(STALE_OR_NOT) if not one[-1]]


def test_a_message_that_becomes_due_goes_to_the_end_of_its_queue_as_if_sent_now(sql, settings) -> None:
    old = minutes_ago(5)
    sent = """INSERT INTO dramatiq.queue (message_id, queue_name, state, mtime, message)
              VALUES (gen_random_uuid(), :name, 'queued', :old, CAST(:message AS jsonb))"""
    message = {"queue_name": "low.DQ", "options": {"eta": 1, "max_retries": 3}, "args": [1]}
    for options in ({"eta": 2}, {"eta": 1}, {"eta": 4 * 10**15}):
        content = json.dumps(message | {"options": message["options"] | options})
        sql(sent, name="low.DQ", old=old, message=content)
    sql(sent, name="low", old=old, message="{}")
    assert sql("SELECT enqueue_due_messages() AS n") == [{"n": 2}]
    rows = sql("SELECT queue_name, mtime, message FROM dramatiq.queue WHERE state = 'queued' ORDER BY seq")
    assert [row["queue_name"] for row in rows] == ["low"] * 3
    assert [row["mtime"] > old for row in rows] == [False, True, True]
    assert rows[1]["message"] == {"queue_name": "low", "options": {"max_retries": 3}, "args": [1]}
    assert sql("SELECT reason FROM dramatiq.queue WHERE state = 'rejected'") == [
        {"reason": "option eta: found 4000000000000000, expected a time in ms"}
    ]


def test_a_worker_whose_role_may_only_look_is_none(engine, sql, settings) -> None:
    role = f"longhaul_test_{secrets.token_hex(4)}"
    sql(f"CREATE ROLE {role} LOGIN; GRANT SELECT ON workers TO {role}")
    theirs = make_engine(as_role(settings.DATABASE_URL, role), application_name="theirs")
    try:
        with theirs.connect() as session:
            session.execute(text("SELECT pg_advisory_lock(1819242087, 7)"))
            assert sql("SELECT live_workers()") == []
            sql(f"GRANT UPDATE ON workers TO {role}")
            assert sql("SELECT live_workers() AS id") == [{"id": 7}]
            session.invalidate()
    finally:
        theirs.dispose()
        sql(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_only_sessions_that_hold_the_locks_of_these_workers_are_ended(engine, sql, servers) -> None:
    """Not those with a lock of the same numbers that is another program's, or in another database."""
    elsewhere = make_engine(servers["DATABASE_URL"], application_name="other")
    locks = {
        "pg_advisory_lock(worker_lock_space(), 7)": (engine, False),
        "pg_advisory_lock(worker_lock_space(), 8)": (engine, True),
        "pg_advisory_lock(5, 7)": (engine, True),
        "pg_advisory_lock((worker_lock_space()::bigint << 32) + 7)": (engine, True),
        "pg_advisory_lock(worker_lock_space(), 7) ": (elsewhere, True),
    }
    sessions = [where.connect() for where, _ in locks.values()]
    pids = [session.scalar(text("SELECT pg_backend_pid()")) for session in sessions]
    try:
        for session, lock in zip(sessions, locks, strict=True):
            session.execute(text(f"SELECT {lock}".replace(":", r"\:")))
            session.commit()
        sql("SELECT end_sessions('{7}')")
        alive = "SELECT pid FROM pg_stat_activity WHERE pid = ANY (:pids)"
        wait_until(lambda: {"pid": pids[0]} not in sql(alive, pids=pids), 30, "its end")
        found = {row["pid"] for row in sql(alive, pids=pids)}
        assert [pid in found for pid in pids] == [stays for _, stays in locks.values()]
    finally:
        for session in sessions:
            session.invalidate()
        elsewhere.dispose()


WATCHED = "SELECT clock_timestamp() AS now, * FROM watched_clock"


@pytest.mark.parametrize(
    ("ago", "is_noted", "is_gap"),
    [
        (None, True, False),
        ("0.3 s", False, False),
        ("1.5 s", True, False),
        ("3 s", True, False),
        ("9 s", True, False),
        ("12 s", True, True),
        ("-3 s", True, False),
        ("-9 s", True, False),
        ("-12 s", True, True),
    ],
)
def test_a_reading_of_the_clock_is_noted_once_a_second_and_a_step_as_a_gap(ago, is_noted, is_gap, sql) -> None:
    sql("UPDATE watched_clock SET seen_at = clock_timestamp() - CAST(:ago AS interval), gap_from = :at, gap_to = :at",
        ago=ago, at=minutes_ago(90))  # fmt: skip
    (before,) = sql(WATCHED)
    sql("SELECT watch_clock()")
    (after,) = sql(WATCHED)
    assert (after["seen_at"] != before["seen_at"]) is is_noted
    if is_noted:
        assert before["now"] <= after["seen_at"] <= after["now"]
    kept = (before["gap_from"], before["gap_to"])
    assert (after["gap_from"], after["gap_to"]) == ((before["seen_at"], after["seen_at"]) if is_gap else kept)


def test_who_may_not_write_or_would_have_to_wait_reads_the_clock_without_a_note(engine, sql) -> None:
    sql("UPDATE watched_clock SET seen_at = clock_timestamp() - interval '1 minute'")
    before = sql("SELECT seen_at FROM watched_clock")
    with engine.begin() as session:
        session.execute(text("SET TRANSACTION READ ONLY"))
        session.execute(text("SELECT watch_clock()"))
    with engine.begin() as somebody, engine.begin() as session:
        somebody.execute(text("SELECT FROM watched_clock FOR UPDATE"))
        session.execute(text("SET LOCAL lock_timeout = '1s'"))
        session.execute(text("SELECT watch_clock()"))
    assert sql("SELECT seen_at FROM watched_clock") == before


# In seconds before now: the last reading, the start and end of the gap, the sign of life; and how long it is silent.
SILENT = [
    (0, None, None, 100, 100),
    (9, None, None, 100, 100),
    (11, None, None, 100, 0),  # nobody watches
    (-9, None, None, 100, 100),
    (-11, None, None, 100, 0),
    (0, 500, 30, 600, 130),  # 100 s before the gap and 30 s after it
    (0, 500, 30, 495, 30),  # it may be from right before the step
    (0, 500, 30, 485, 485),  # in the gap: somebody was there
    (0, 500, 30, 20, 20),
    (0, 30, 500, 520, 990),  # a step back: those times come twice
    (0, 30, 500, 515, 985),
    (0, 30, 500, 505, 505),
    (0, 30, 500, 100, 100),
]


def test_how_long_it_is_silent_counts_only_time_in_which_somebody_watched(sql) -> None:
    def ago(name: str) -> str:
        return f"clock_timestamp() - make_interval(secs => CAST(:{name} AS float8))"

    for case in SILENT:
        seen, gap_from, gap_to, since, silent = case
        sql(
            f"UPDATE watched_clock SET seen_at = {ago('seen')}, gap_from = {ago('gap_from')}, gap_to = {ago('gap_to')}",
            seen=seen, gap_from=gap_from, gap_to=gap_to,
        )  # fmt: skip
        (row,) = sql(f"SELECT CAST(extract(epoch FROM silence({ago('since')})) AS float8) AS seconds", since=since)
        assert silent - 0.5 < row["seconds"] < silent + 5, case


def test_a_worker_is_dead_once_it_is_silent_for_15_s_and_alive_if_that_is_not_known(sql) -> None:
    sql("""CREATE OR REPLACE FUNCTION worker_sessions()
           RETURNS TABLE (worker_id integer, session_pid integer, role_id oid, silent_for interval) LANGUAGE sql AS $$
               VALUES (1, 0, CAST(10 AS oid), interval '14 s'), (2, 0, 10, '16 s'), (3, 0, 10, NULL)
           $$""")
    assert sql("SELECT live_workers() AS id ORDER BY 1") == [{"id": 1}, {"id": 3}]


def test_a_worker_whose_session_we_may_not_look_into_counts_as_alive(engine, sql, settings, worker_id) -> None:
    role = f"longhaul_test_{secrets.token_hex(4)}"
    sql(f"CREATE ROLE {role} LOGIN; GRANT SELECT ON watched_clock TO {role}")
    theirs = make_engine(as_role(settings.DATABASE_URL, role), application_name="theirs")
    try:
        with theirs.connect() as session:
            assert session.scalars(text("SELECT live_workers()")).all() == [worker_id]
            silences = text("SELECT worker_id, silent_for FROM worker_silences()")
            assert session.execute(silences).all() == [(worker_id, None)]
    finally:
        theirs.dispose()
        sql(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_people_see_how_long_a_worker_is_silent_though_nobody_watches_the_clock(engine, sql) -> None:
    silent = "SELECT worker_id, extract(epoch FROM silent_for) AS seconds FROM {}()"
    with worker_at(engine, speaks=False) as worker, engine.begin() as session:
        worker_id = worker.info["worker_id"]
        wait_until(lambda: sql(silent.format("worker_silences"))[0]["seconds"] > 0.2, 30, "a silence")
        sql("UPDATE watched_clock SET seen_at = now() - interval '1 hour'")
        (shown,) = sql(silent.format("worker_silences"))
        assert shown["worker_id"] == worker_id
        assert 0.2 < shown["seconds"] < 60
        assert sql(silent.format("worker_sessions")) == [{"worker_id": worker_id, "seconds": 0}]
        asks = text("SELECT silent_for FROM worker_silences()")  # and it grows during a transaction
        first = session.scalar(asks)
        session.execute(text("SELECT pg_sleep(0.2)"))
        second = session.scalar(asks)
    assert (second - first).total_seconds() >= 0.2


def test_a_message_that_becomes_due_during_a_transaction_is_due_in_it(engine) -> None:
    with engine.begin() as session:
        session.execute(
            text("""INSERT INTO dramatiq.queue (message_id, queue_name, state, message)
                    VALUES (gen_random_uuid(), 'low.DQ', 'queued', jsonb_build_object('options', jsonb_build_object(
                        'eta', floor(extract(epoch FROM clock_timestamp()) * 1000))))""")
        )
        assert session.scalar(text("SELECT enqueue_due_messages()")) == 1


MOVES = {  # state, queue, options, what moves it
    "sent": ("done", "high", "{}", "SELECT enqueue_messages(ARRAY[message_id], '{low}', ARRAY[message]) FROM lost"),
    "due": ("queued", "low.DQ", '{"eta": 1}', "SELECT enqueue_due_messages()"),
    "lost": ("consumed", "low", "{}", "SELECT recover_messages()"),
}


@pytest.mark.parametrize("moved", MOVES)
def test_whatever_puts_a_message_into_its_queue_wakes_the_workers_of_it(moved, sql, environment) -> None:
    state, queue, options, does = MOVES[moved]
    sql("""INSERT INTO dramatiq.queue (message_id, queue_name, state, worker_id, message)
           VALUES (gen_random_uuid(), :queue, :state, 9, jsonb_build_object('options', CAST(:options AS jsonb)))""",
        state=state, queue=queue, options=options)  # fmt: skip
    with closing(psycopg2.connect(environment["DATABASE_URL"])) as worker:
        worker.autocommit = True
        worker.cursor().execute('LISTEN "dramatiq.low.enqueue"')
        sql(f"WITH lost AS (SELECT * FROM dramatiq.queue) {does}")
        worker.cursor().execute("SELECT 1")
        (heard,) = worker.notifies
    assert heard.channel == "dramatiq.low.enqueue"
    (message,) = sql("SELECT CAST(message_id AS text) AS id FROM dramatiq.queue")
    # Which a stock consumer needs, that looks for this one message.
    assert json.loads(heard.payload) == {"message_id": message["id"] if moved == "sent" else None}
    assert sql("SELECT queue_name, state::text FROM dramatiq.queue".replace("::", r"\:\:")) == [
        {"queue_name": "low", "state": "queued"}
    ]


@pytest.mark.parametrize("state", ["done", "rejected", "queued"])
@pytest.mark.parametrize("message", [None, '{"args": [2]}'])
@pytest.mark.parametrize(("worker", "delivery", "taken"), [(9, 3, True), (8, 3, False), (9, 2, False)])
def test_the_release_before_ends_what_it_holds_and_nothing_else(worker, delivery, taken, message, state, sql) -> None:
    for _ in range(2):  # of which the second is not told of
        sql("""INSERT INTO dramatiq.queue (message_id, queue_name, state, mtime, worker_id, delivery, message)
               VALUES (gen_random_uuid(), 'low', 'consumed', now() - interval '1 hour', 9, 3, '{"args"\\: [1]}')""")
    found = """SELECT CAST(message_id AS text) AS id, CAST(state AS text) AS state, worker_id, message,
                      mtime > now() - interval '1 minute' AS now FROM dramatiq.queue ORDER BY seq"""
    before, other = sql(found)
    ended = sql("""SELECT CAST(settle_messages(:worker, CAST(ARRAY[:id] AS uuid[]), ARRAY[:delivery], ARRAY[:state],
                                               CAST(ARRAY[:message] AS jsonb[])) AS text) AS id""",
                worker=worker, id=before["id"], delivery=delivery, state=state, message=message)  # fmt: skip
    assert ended == ([{"id": before["id"]}] if taken else [])
    holder = None if state == "queued" else 9
    content = json.loads(message) if message else {"args": [1]}
    after = {**before, "state": state, "worker_id": holder, "message": content, "now": True}
    assert sql(found) == [after if taken else before, other]
