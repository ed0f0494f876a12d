"""The sweep's round: what it does, in which order, and that only one does it."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DataError, OperationalError
from structlog.testing import capture_logs

from actors.runtime.jobs.kinds import job_kind, load_kinds
from actors.runtime.jobs.reconcile import Swept, reconcile
from actors.runtime.worker.sweep import sweep
from sql.locks import SWEEP, holding

LONG_AGO = datetime.now(UTC) - timedelta(minutes=10)


def round_of(engine, settings) -> Swept | None:
    with engine.connect() as connection:
        return sweep(connection, load_kinds().values(), settings)


def test_one_round_recovers_fails_and_wakes(make, engine, settings, worker_id, job_row) -> None:
    lost = make.job(status="running", worker_id=worker_id + 1)
    stale = make.job(status="running", worker_id=worker_id, heartbeat_at=LONG_AGO)
    silent = make.job()
    assert round_of(engine, settings) == Swept(recovered=[lost], stale=[stale], woken=[silent])
    assert [job_row(job)["status"] for job in (lost, stale, silent)] == ["queued", "failed", "queued"]
    assert round_of(engine, settings) == Swept()


def test_a_job_whose_worker_died_long_ago_is_recovered_not_failed(make, engine, settings, job_row) -> None:
    job_id = make.job(status="running", worker_id=77, heartbeat_at=LONG_AGO, updated_at=LONG_AGO)
    assert round_of(engine, settings) == Swept(recovered=[job_id])
    assert job_row(job_id)["status"] == "queued"


def test_a_stale_message_goes_even_if_the_one_that_sweeps_takes_from_other_queues(make, engine, settings, sql) -> None:
    job_id = sql(
        "SELECT id FROM start_job(:b, 'delete_receipts', 'maintenance', '{}', 3, 7, 'dana')", b=make.business()
    )
    sql("UPDATE background_jobs SET status = 'cancelled', finished_at = now() WHERE id = :id", **job_id[0])
    elsewhere = settings.model_copy(update={"WORKER_QUEUES": ("high",)})
    assert round_of(engine, elsewhere) == Swept(dropped=1)
    assert sql("SELECT FROM dramatiq.queue") == []


def test_while_one_process_sweeps_another_does_nothing(engine, settings) -> None:
    with engine.begin() as other:
        other.execute(text("SELECT pg_advisory_xact_lock(1819242088, 2)"))
        assert round_of(engine, settings) is None


def test_a_row_that_somebody_holds_is_passed_over_and_not_waited_for(make, engine, settings) -> None:
    held = make.job(status="running", worker_id=77)
    other = make.job(status="running", worker_id=77)
    with engine.begin() as connection:
        connection.execute(text("SELECT FROM background_jobs WHERE id = :id FOR UPDATE"), {"id": held})
        assert round_of(engine, settings) == Swept(recovered=[other])
    assert round_of(engine, settings) == Swept(recovered=[held])


def test_a_queue_that_somebody_has_locked_does_not_keep_jobs_from_being_recovered(
    make, engine, settings, job_row
) -> None:
    lost = make.job(status="running", worker_id=99, requested="pause")
    with engine.begin() as somebody, engine.connect() as connection:
        somebody.execute(text("LOCK TABLE dramatiq.queue IN ACCESS EXCLUSIVE MODE"))
        swept = sweep(connection, [], settings)
    assert (swept.recovered, job_row(lost)["status"]) == ([lost], "paused")


def test_a_session_that_holds_the_lock_of_the_sweep_is_ended_when_it_falls_silent(engine) -> None:
    limit = text("SHOW idle_session_timeout")
    with engine.connect() as session, engine.connect() as other:
        with holding(session, SWEEP) as held, holding(other, SWEEP) as held_twice:
            assert (held, held_twice) == (True, False)
            assert (session.scalar(limit), other.scalar(limit)) == ("10s", "0")
            session.commit()
            other.commit()
        assert session.scalar(limit) == "0"
        session.commit()
        with holding(other, SWEEP) as held:
            assert held


def test_a_sweep_whose_session_is_ended_leaves_the_lock_to_others(engine) -> None:
    def ended(session: Connection, other: Connection) -> None:
        with holding(session, SWEEP):
            pid = session.scalar(text("SELECT pg_backend_pid()"))
            other.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})
            other.commit()
            session.execute(text("SELECT 1"))

    with engine.connect() as session, engine.connect() as other:
        with pytest.raises(OperationalError):
            ended(session, other)
        with holding(other, SWEEP) as held:
            assert held


def test_a_lock_that_cannot_be_given_back_ends_with_its_session(engine, monkeypatch) -> None:
    def holds() -> None:
        with engine.connect() as session, holding(session, SWEEP):
            monkeypatch.setattr("sql.locks.UNLOCK", text("SELECT 1 / 0"))

    with pytest.raises(DataError):
        holds()
    monkeypatch.undo()
    with engine.connect() as session, engine.connect() as other:  # neither is the one that had it
        for one in (session, other):
            with holding(one, SWEEP) as held:
                assert held


def test_what_a_round_has_done_is_in_its_result_and_in_the_log(make, engine, settings, worker_id, sql, job_row) -> None:
    lost = make.job(status="running", worker_id=worker_id + 1)
    stale = make.job(status="running", worker_id=worker_id, heartbeat_at=LONG_AGO)
    asked = make.job(status="running", worker_id=worker_id, heartbeat_at=LONG_AGO, requested="pause")
    silent = make.job()
    message = """INSERT INTO dramatiq.queue (message_id, queue_name, state, worker_id, message)
                 SELECT gen_random_uuid(), :name, :state, :worker, CAST(:message AS jsonb)
                 FROM generate_series(1, :n)"""
    sql(message, name="low", state="consumed", worker=99, message="{}", n=2)
    sql(message, name="low.DQ", state="queued", worker=None, message='{"options": {"eta": 1}}', n=3)
    with capture_logs() as lines:
        swept = round_of(engine, settings)
    assert swept == Swept(recovered=[lost], stale=[stale], woken=[silent], messages=2, released=3)
    assert job_row(asked)["status"] == "paused"  # which is no failure
    assert [(line["event"], line.get("jobs", line.get("number"))) for line in lines] == [
        ("sweep.recovered", [lost]), ("sweep.stale", [stale]), ("sweep.resent", [silent]), ("sweep.messages", 2),
    ]  # fmt: skip
    assert {line["log_level"] for line in lines} == {"warning"}
    assert sql("SELECT swept_at > now() - interval '1 minute' AS new FROM watched_clock") == [{"new": True}]
    with capture_logs() as lines:
        assert round_of(engine, settings) == Swept()
    assert lines == []


@pytest.mark.parametrize("field", ["released", "dropped"])
def test_a_round_that_did_as_much_as_one_does_is_followed_by_another(field) -> None:
    assert [Swept(**{field: number}).goes_on for number in (999, 1000)] == [False, True]


def test_a_message_under_a_former_name_of_its_kind_is_dropped_too(make, engine, settings, sql) -> None:
    renamed = job_kind(queue="low", old_names=["before"])(lambda run: iter(()))
    sql("""INSERT INTO dramatiq.queue (message_id, queue_name, state, message) VALUES
           (gen_random_uuid(), 'low', 'queued', '{"actor_name": "before", "args": [404]}'),
           (gen_random_uuid(), 'low', 'queued', '{"actor_name": "others", "args": [404]}')""")
    with engine.connect() as connection:
        assert sweep(connection, [renamed], settings) == Swept(dropped=1)


def test_a_look_at_one_business_moves_the_jobs_of_no_other(make, engine, settings, worker_id, job_row) -> None:
    business_id = make.business()
    for columns in ({"worker_id": worker_id + 1}, {"worker_id": worker_id, "heartbeat_at": LONG_AGO}):
        mine, others = (
            make.job(one, status="running", key=str(columns), **columns) for one in (business_id, make.business())
        )
        with engine.connect() as connection:
            swept = reconcile(connection, settings, business_id)
        assert swept.recovered + swept.stale == [mine]
        assert job_row(others)["status"] == "running"


def test_a_job_that_nothing_could_move_is_named_with_its_error(make, engine, settings, sql) -> None:
    stuck = make.job(status="running", worker_id=77)
    other = make.job(status="running", worker_id=77)
    sql(f"""CREATE FUNCTION bad() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE unique_violation; END $$;
            CREATE TRIGGER bad BEFORE UPDATE ON background_jobs FOR EACH ROW WHEN (old.id = {stuck})
            EXECUTE FUNCTION bad()""")
    with capture_logs() as lines:
        swept = round_of(engine, settings)
    assert (swept.recovered, swept.left) == ([other], {stuck: "23505"})
    (line,) = [line for line in lines if line["event"] == "sweep.left"]
    assert line["error"].startswith(f"job {stuck} of worker 77, which is dead, cannot be put back: ")
    assert "\n" not in line["error"]


def test_a_function_that_is_broken_is_not_tried_anew_for_each_job(make, engine, settings, sql) -> None:
    """Only a time limit may have struck because of one of them."""
    for _ in range(2):
        make.job(status="running", worker_id=77)
    sql("""CREATE OR REPLACE FUNCTION live_workers() RETURNS SETOF integer LANGUAGE plpgsql AS
           $$ BEGIN RAISE 'broken'; END $$""")
    with capture_logs() as lines, engine.connect() as connection:
        assert reconcile(connection, settings).left == {None: "P0001"}
    assert [(line["step"], line["job_id"]) for line in lines if line["event"] == "sweep.failed"] == [("recover", None)]


def test_if_all_at_once_takes_too_long_each_running_job_is_taken_alone(
    make, engine, settings, sql, job_row, monkeypatch
) -> None:
    monkeypatch.setattr("actors.runtime.jobs.reconcile.LIMITS", "SET LOCAL statement_timeout = '0.3s'")
    business_id = make.business()
    mine, slow, _done = (
        make.job(business_id, status=status, key=str(number), worker_id=77)
        for number, status in enumerate(("running", "running", "completed"))
    )
    others = make.job(status="running", worker_id=77)
    sql(f"""CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;
            CREATE TRIGGER slow BEFORE UPDATE ON background_jobs FOR EACH ROW WHEN (old.id = {slow})
            EXECUTE FUNCTION slow()""")
    with capture_logs() as lines, engine.connect() as connection:
        swept = reconcile(connection, settings, business_id)
    assert (swept.recovered, swept.left, swept.stale) == ([mine], {slow: "57014"}, [])
    assert job_row(others)["status"] == "running"
    told = [(line["step"], line["job_id"], line["log_level"]) for line in lines if line["event"] == "sweep.failed"]
    assert told == [("recover", slow, "warning")]


def test_after_a_round_the_warnings_of_its_session_are_no_more_the_sweeps(engine, settings) -> None:
    with capture_logs() as lines, engine.connect() as connection:
        swept = reconcile(connection, settings)
        connection.exec_driver_sql("DO $$ BEGIN RAISE WARNING 'job 7 cannot (23505)'; END $$")
    assert (lines, swept) == ([], Swept())
