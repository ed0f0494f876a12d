"""One bad thing costs itself: what the sweep meets and cannot move holds up nothing else, and is named in the log."""

import dataclasses
import secrets
from collections.abc import Callable
from itertools import pairwise
from math import log2
from typing import Any

import psycopg2
import pytest
from sqlalchemy import Engine, text

from actors.runtime.jobs.kinds import load_kinds
from actors.runtime.jobs.reconcile import Swept
from actors.runtime.worker.sweep import sweep
from service.local.processes import wait_until
from tests.actors.runtime.tiny import as_role

KINDS = load_kinds().values()

TRIGGER = """
    CREATE FUNCTION bad() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {does}; RETURN coalesce(new, old); END $$;
    CREATE TRIGGER bad BEFORE {what} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION bad()
"""


@pytest.fixture
def round_(engine: Engine, settings: Any) -> Callable[[], Swept]:
    def one() -> Swept:
        with engine.connect() as connection:
            swept = sweep(connection, KINDS, settings)
        assert swept is not None
        return swept

    return one


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []

    class Log:
        def __getattr__(self, level: str) -> Callable[..., None]:
            return lambda *words, **facts: found.append((words[-1], facts))

    monkeypatch.setattr("actors.runtime.jobs.reconcile.log", Log())
    return found


@pytest.mark.parametrize(
    "does", ["RAISE 'no'", "RAISE unique_violation", "PERFORM pg_sleep(60)", "RAISE query_canceled"]
)
def test_a_job_that_cannot_be_recovered_holds_up_no_other_job(does, make, sql, round_, job_row, logged) -> None:
    jobs = [make.job(status="running", worker_id=999) for _ in range(3)]
    sql("UPDATE background_jobs SET total = 5 WHERE id = :id", id=jobs[0])  # it is stored behind the others now
    sql(TRIGGER.format(does=does, what="UPDATE ON background_jobs", when=f"old.id = {jobs[1]}"))
    assert round_().recovered == [jobs[0], jobs[2]]
    assert [job_row(job)["status"] for job in jobs] == ["queued", "running", "queued"]
    assert any(str(jobs[1]) in str(facts) for _, facts in logged), logged
    sql("DROP TRIGGER bad ON background_jobs")
    round_()
    assert job_row(jobs[1])["status"] == "queued"


@pytest.mark.parametrize("does", ["RAISE 'no'", pytest.param("PERFORM pg_sleep(60)", marks=pytest.mark.scale)])
def test_a_job_that_cannot_be_failed_as_stale_holds_up_no_other_job(
    does, make, sql, round_, job_row, worker_id, logged
) -> None:
    jobs = [make.job(status="running", worker_id=worker_id) for _ in range(3)]
    sql("UPDATE background_jobs SET heartbeat_at = now() - interval '10 minutes'")
    sql(TRIGGER.format(does=does, what="UPDATE ON background_jobs", when=f"old.id = {jobs[1]}"))
    round_()
    assert [job_row(job)["status"] for job in jobs] == ["failed", "running", "failed"]
    assert any(str(jobs[1]) in str(facts) for _, facts in logged), logged


def test_a_job_that_cannot_be_sent_a_message_holds_up_no_other_job(make, sql, round_, job_row, logged) -> None:
    jobs = [make.job() for _ in range(3)]
    sql(TRIGGER.format(does="RAISE 'no'", what="UPDATE ON background_jobs", when=f"old.id = {jobs[1]}"))
    assert round_().woken == [jobs[0], jobs[2]]
    assert any(str(jobs[1]) in str(facts) for _, facts in logged), logged


MESSAGES = """
    INSERT INTO dramatiq.queue (message_id, queue_name, state, message, worker_id)
    SELECT gen_random_uuid(), :name, :state, jsonb_build_object('n', n, 'options', CAST(:options AS jsonb)), :worker
    FROM generate_series(1, 3) n
"""


@pytest.mark.parametrize(
    ("message", "moved"),
    [
        ({"name": "low", "state": "consumed", "options": "{}", "worker": 999}, "queued"),
        ({"name": "low.DQ", "state": "queued", "options": '{"eta": 1}', "worker": None}, "low"),
    ],
)
def test_a_message_that_cannot_be_moved_holds_up_no_other_message(message, moved, sql, round_, logged) -> None:
    sql(MESSAGES, **message)
    sql(TRIGGER.format(does="RAISE 'no'", what="UPDATE ON dramatiq.queue", when="old.message ->> 'n' = '2'"))
    swept = round_()
    rows = sql("SELECT state::text, queue_name FROM dramatiq.queue ORDER BY (message ->> 'n')::integer")
    assert swept.messages + swept.released == 2
    assert [row["queue_name" if message["worker"] is None else "state"] == moved for row in rows] == [True, False, True]
    assert any("cannot be" in str(facts) for _, facts in logged), logged


def test_delayed_messages_for_queues_with_too_long_names_hold_up_no_other(sql, round_) -> None:
    """As many as one round looks at."""
    for eta, (name, number) in enumerate((("q" * 64, 1000), ("low", 1))):
        sql(
            """INSERT INTO dramatiq.queue (message_id, queue_name, state, message)
               SELECT gen_random_uuid(), :name, 'queued', jsonb_build_object('options', CAST(:options AS jsonb))
               FROM generate_series(1, :number)""",
            name=f"{name}.DQ",
            options=f'{{"eta": {eta}}}',
            number=number,
        )
    round_()
    round_()
    rows = sql("SELECT DISTINCT queue_name AS name FROM dramatiq.queue ORDER BY 1")
    assert rows == [{"name": "low"}, {"name": "q" * 64}]


@pytest.mark.parametrize("eta", ['"NaN"', '"Infinity"', "1e300"])
def test_a_time_that_never_comes_is_rejected_with_the_reason(eta, sql, round_) -> None:
    sql(MESSAGES, name="low.DQ", state="queued", options=f'{{"eta": {eta}}}', worker=None)
    round_()
    rows = sql("SELECT state::text, reason FROM dramatiq.queue")
    assert {row["state"] for row in rows} == {"rejected"}
    assert all(row["reason"].startswith("option eta: found ") for row in rows)


@pytest.mark.parametrize("state", ["done", "consumed"])
def test_what_is_not_waiting_keeps_its_state_whatever_its_time_says(state, sql, round_, worker_id) -> None:
    """A worker of somebody else's may have taken it, and ended it."""
    sql(MESSAGES, name="low.DQ", state=state, options='{"eta": "NaN"}', worker=worker_id)
    round_()
    assert sql("SELECT DISTINCT state::text, reason FROM dramatiq.queue") == [{"state": state, "reason": None}]


def test_a_step_that_fails_costs_itself(make, sql, round_, job_row, logged) -> None:
    """Functions of ours that are broken, in turn: what comes before and after them is done all the same."""
    for broken in (
        "recover_jobs",
        "fail_stale_jobs",
        "recover_messages",
        "enqueue_due_messages",
        "drop_stale_messages",
    ):
        job = make.job()
        (kept,) = sql("SELECT pg_get_functiondef(oid) AS it FROM pg_proc WHERE proname = :name", name=broken)
        begin = kept["it"].partition("AS $")[0]
        sql(f"{begin.partition('LANGUAGE')[0]} LANGUAGE plpgsql AS $$ BEGIN RAISE 'broken'; END $$".replace(":", r"\:"))
        assert round_().woken == [job], broken
        assert any("broken" in str(facts) for _, facts in logged)
        sql(kept["it"].replace(":", r"\:"))
        sql("UPDATE background_jobs SET status = 'cancelled', finished_at = now()")
        logged.clear()


def test_sessions_of_another_role_that_may_not_be_ended_hold_up_no_recovery(
    make, sql, engine, round_, job_row, settings, logged
) -> None:
    """Workers under different roles: one is silent, and another one may not terminate it."""
    other, poor = (f"{name}_{secrets.token_hex(4)}" for name in ("other", "poor"))
    sql(f"CREATE ROLE {other} LOGIN; CREATE ROLE {poor} LOGIN")
    try:
        sql(f"""GRANT USAGE ON SCHEMA dramatiq TO {poor}, {other};
                GRANT ALL ON ALL TABLES IN SCHEMA public, dramatiq TO {poor}, {other};
                GRANT ALL ON ALL SEQUENCES IN SCHEMA public, dramatiq TO {poor}, {other}""")
        with engine.connect() as silent, engine.connect() as sweeping:
            silent.execute(text(f"SET SESSION AUTHORIZATION {other}"))
            silent.execute(text("SELECT pg_advisory_lock(worker_lock_space(), 999)"))
            silent.commit()
            sweeping.execute(text(f"SET SESSION AUTHORIZATION {poor}"))
            sweeping.commit()
            sql("""CREATE OR REPLACE FUNCTION public.live_workers() RETURNS SETOF integer LANGUAGE sql AS
                   $$ SELECT 1 WHERE false $$""")  # all of them have fallen silent
            job = make.job(status="running", worker_id=999)
            assert sweep(sweeping, KINDS, settings).recovered == [job]
            assert any("cannot be ended" in str(facts) for _, facts in logged), logged
            silent.invalidate()
            sweeping.invalidate()
    finally:
        sql(f"DROP OWNED BY {other}, {poor}; DROP ROLE {other}, {poor}")


def test_a_foreign_session_cannot_pass_for_a_worker(environment, sql) -> None:
    stranger = f"stranger_{secrets.token_hex(4)}"
    sql(f"CREATE ROLE {stranger} LOGIN")
    try:
        for role, expected in ((stranger, []), ("postgres", [{"id": 999}])):
            session = psycopg2.connect(as_role(environment["DATABASE_URL"], role))
            session.cursor().execute("SELECT pg_advisory_lock(worker_lock_space(), 999)")
            session.commit()
            assert sql("SELECT live_workers() AS id") == expected
            session.close()
    finally:
        sql(f"DROP ROLE {stranger}")


# The server's clock. A step of it looks as if all that was noted before were older, or younger, by the step.
STEP = """
    UPDATE watched_clock SET seen_at = seen_at - CAST(:step AS interval);
    UPDATE background_jobs SET heartbeat_at = heartbeat_at - CAST(:step AS interval),
                               updated_at = updated_at - CAST(:step AS interval)
"""


@pytest.mark.parametrize("step", ["200 s", "-200 s", "1 day", "11 s"])
def test_a_step_of_the_clock_fails_no_healthy_job(step, make, sql, round_, job_row, worker_id) -> None:
    round_()  # somebody has just looked
    job = make.job(status="running", worker_id=worker_id)
    sql(STEP, step=step)
    for _ in range(3):
        assert round_().stale == []
    assert job_row(job)["status"] == "running"


def test_a_job_that_was_silent_before_the_clock_stepped_is_still_found(make, sql, round_, worker_id) -> None:
    round_()
    job = make.job(status="running", worker_id=worker_id)
    sql("UPDATE background_jobs SET heartbeat_at = now() - interval '119 s'")
    sql(STEP, step="200 s")
    assert round_().stale == []
    sql("UPDATE watched_clock SET gap_to = gap_to - interval '2 s'")  # watched for two seconds since
    assert round_().stale == [job]


def test_a_look_right_after_another_tells_stale_from_running_at_once(make, sql, round_, worker_id) -> None:
    sql("UPDATE watched_clock SET seen_at = now() - interval '1 hour'")
    job = make.job(status="running", worker_id=worker_id)
    sql("UPDATE background_jobs SET heartbeat_at = now() - interval '10 minutes'")
    assert round_().stale == []  # nobody has watched for an hour
    assert round_().stale == [job]


def test_a_message_that_helps_nothing_is_sent_again_ever_more_rarely(make, sql, round_, job_row) -> None:
    job = make.job()
    sent = []
    for _ in range(40):
        sent.append(round_().woken == [job])
        sql("UPDATE dramatiq.queue SET state = 'rejected'")
        sql("UPDATE background_jobs SET resent_at = resent_at - interval '1 s'")  # a second passes
    rounds = [n for n, was_sent in enumerate(sent) if was_sent]
    assert rounds[0] == 0
    gaps = [later - earlier for earlier, later in pairwise(rounds)]
    assert [round(log2(gap)) for gap in gaps] == [1, 2, 3, 4]  # roughly: real seconds pass too
    sql("SELECT claim_job(:id, 1)", id=job)
    assert job_row(job)["resends"] == 0


def test_swept_says_when_there_is_more(round_, sql) -> None:
    assert not round_().goes_on
    assert dataclasses.replace(Swept(), released=1000).goes_on
    wait_until(lambda: sql("SELECT seen_at FROM watched_clock")[0]["seen_at"], 30, "the look")
