"""What a status call shows of a job: the short way for those that are moving shows the same as the long one."""

import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from tests.conftest import worker_at

VIEW = """
    SELECT * FROM view_jobs(
        CAST(:ids AS bigint[]), CAST(:businesses AS bigint[]), CAST(:versions AS text[]), 120, 300, 100)
"""
LOOK = """
    SELECT (job).*, is_unknown, rate, eta_seconds, seconds_since_heartbeat, is_stale, is_in_doubt, reason, sentence
    FROM look_at_jobs(:ids, 120, 300, 100)
"""
NEVER_LOOKED = """
    CREATE OR REPLACE FUNCTION look_at_jobs(
        wanted bigint[], heartbeat_seconds float8, update_seconds float8, most_ahead integer
    ) RETURNS TABLE (
        job background_jobs, is_unknown boolean, rate float8, eta_seconds bigint, seconds_since_heartbeat bigint,
        is_stale boolean, is_in_doubt boolean, reason text, sentence text) LANGUAGE plpgsql AS $$
    BEGIN
        IF wanted <> '{}' THEN RAISE 'asked about %', wanted; END IF;
    END $$
"""


def at_now(columns: dict[str, Any]) -> dict[str, Any]:
    """Times are given as seconds ago."""
    now = datetime.now(UTC)
    return {n: now - timedelta(seconds=v) if n.endswith("_at") else v for n, v in columns.items()}


@pytest.fixture
def worker(engine, sql) -> Iterator[int]:
    with worker_at(engine, ["maintenance"], speaks=False) as session:
        sql("SELECT watch_clock()")
        yield session.info["worker_id"]


def shown(sql: Any, *ids: int, business: int | None = None, version: str | None = None) -> list[dict[str, Any]]:
    return sql(VIEW, ids=list(ids), businesses=[business] * len(ids), versions=[version] * len(ids))


OLD = {"rate_from": 0, "rate_from_at": 30, "processed": 60, "succeeded": 60, "total": 100}


@pytest.mark.parametrize(
    "columns",
    [
        {},
        OLD,
        {"requested": "pause"},
        {"waiting_for": "deadlock detected"},
        {"refusals": 12, "last_error": "no such day"},
        {"updated_at": 40},
        {"heartbeat_at": 40},
        {"heartbeat_at": 400, "updated_at": 400},
        {"worker_id": 999},
        {"worker_id": None},
        {"status": "queued", "worker_id": None, "resends": 3},
        {"status": "paused", "worker_id": None},
        {"status": "completed", "worker_id": None},
        {"status": "failed", "worker_id": None, "last_error": "no such day"},
    ],
)
def test_a_poll_shows_of_each_job_what_a_closer_look_shows(columns, worker, make, sql) -> None:
    job_id = make.job(**at_now({"status": "running", "worker_id": worker, **columns}))
    (short,) = shown(sql, job_id)
    (long,) = sql(LOOK, ids=[job_id])
    (later,) = shown(sql, job_id)
    assert (short.pop("place"), short.pop("is_unchanged")) == (1, False)
    assert (short.pop("version") is not None) == (columns in ({}, OLD))
    for name in ("rate", "eta_seconds", "seconds_since_heartbeat"):  # they change as time passes
        before, after = short.pop(name), later[name]
        assert long[name] == before == after or min(before, after) <= long[name] <= max(before, after), name
    assert short == {name: long[name] for name in short}


def test_a_job_that_is_moving_is_shown_without_a_closer_look(worker, make, sql) -> None:
    sql(NEVER_LOOKED)
    job_id = make.job(status="running", worker_id=worker, **at_now(OLD))
    (job,) = shown(sql, job_id)
    assert (job["id"], job["reason"], job["sentence"]) == (job_id, "running", "It is moving")
    assert (job["is_unknown"], job["is_stale"], job["is_in_doubt"]) == (False, False, False)
    assert (round(job["rate"]), job["eta_seconds"], job["seconds_since_heartbeat"]) == (2, 20, 0)


@pytest.mark.parametrize(
    "columns",
    [
        {"status": "queued"},
        {"requested": "cancel"},
        {"waiting_for": "deadlock detected"},
        {"refusals": 1},
        {"updated_at": 3},
        {"updated_at": -60},
        {"heartbeat_at": 3},
        {"heartbeat_at": -60},
        {"worker_id": 999},
        {"worker_id": None},
    ],
)
def test_a_job_that_may_not_be_moving_gets_a_closer_look(columns, worker, make, sql) -> None:
    job_id = make.job(**at_now({"status": "running", "worker_id": worker, **columns}))
    sql(NEVER_LOOKED)
    with pytest.raises(Exception, match=f"asked about {{{job_id}}}"):
        shown(sql, job_id, make.job(status="running", worker_id=worker))


def test_so_does_one_whose_files_the_bucket_refuses(worker, make, sql) -> None:
    job_id = make.job(status="running", worker_id=worker)
    sql(NEVER_LOOKED)
    sql("INSERT INTO attachment_counts VALUES (:job, 0, 0, 0, 3)", job=job_id)
    assert [job["id"] for job in shown(sql, job_id)] == [job_id]
    sql("UPDATE attachment_counts SET failed = 1")
    with pytest.raises(Exception, match="asked about"):
        shown(sql, job_id)


@pytest.mark.parametrize("seen", [7, -3, None])
def test_so_does_each_while_nobody_watches_the_clock(seen, worker, make, sql) -> None:
    sql(NEVER_LOOKED)
    sql("UPDATE watched_clock SET seen_at = now() - make_interval(secs => :seconds)", seconds=seen)
    with pytest.raises(Exception, match="asked about"):
        shown(sql, make.job(status="running", worker_id=worker))


def test_each_is_shown_to_its_own_business_only_and_the_newest_first(worker, make, sql) -> None:
    one, other = make.business(), make.business()
    moving, still = make.job(one, "running", worker_id=worker), make.job(one, job_type="export_receipts")
    foreign = make.job(other, "running", worker_id=worker)
    asked = {"ids": [moving, still, foreign, foreign, 10**9], "businesses": [one, one, one, None, None]}
    found = [(job["id"], job["place"]) for job in sql(VIEW, **asked, versions=[None] * 5)]
    assert found == [(foreign, 4), (still, 2), (moving, 1)]


def test_whoever_asks_whether_a_dead_worker_lives_is_not_taken_for_it(engine, make, sql) -> None:
    """In a longer transaction, the lock of the question stays."""
    with worker_at(engine, ["maintenance"], speaks=False) as session:
        worker = session.info["worker_id"]
        sql("SELECT watch_clock()")
        job_id = make.job(status="running", worker_id=worker)
    asked = {"ids": [job_id], "businesses": [None], "versions": [None]}
    with engine.connect() as asking, asking.begin():
        pid = asking.scalar(text("SELECT pg_backend_pid()"))
        for _ in range(2):
            (job,) = asking.execute(text(VIEW), asked).mappings()
            assert (job["reason"], job["is_in_doubt"]) == ("silent_worker", True)
        assert sql("SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = :pid", pid=pid)
        assert sql("SELECT live_workers()") == []
        sql("SELECT end_sessions(ARRAY[:worker])", worker=worker)
        assert [row["id"] for row in sql("SELECT id FROM recover_jobs()")] == [job_id]
        assert asking.scalar(text("SELECT 1")) == 1


def test_of_a_moving_job_nothing_is_told_to_whom_its_version_is_known(worker, make, sql) -> None:
    job_id = make.job(status="running", worker_id=worker)
    (job,) = shown(sql, job_id)
    (unchanged,) = shown(sql, job_id, version=job["version"])
    told = {name: value for name, value in unchanged.items() if value is not None}
    assert told == {"place": 1, "version": job["version"], "is_unchanged": True}


CHANGES = {
    "a batch": "UPDATE background_jobs SET processed = 1, succeeded = 1",
    "a heartbeat": "UPDATE background_jobs SET heartbeat_at = now()",
    "a hand": "UPDATE background_jobs SET total = 7",
    "nothing new": "UPDATE background_jobs SET total = total",
    "a pause": "SELECT pause_job((SELECT max(id) FROM background_jobs), 'dana')",
    "a cancel": "SELECT cancel_job((SELECT max(id) FROM background_jobs), 'dana')",
    "the first of its files": "INSERT INTO attachment_counts SELECT max(id), 0, 0, 0, 3 FROM background_jobs",
}


@pytest.mark.parametrize("change", CHANGES)
def test_its_version_ends_with_each_change(change, worker, make, sql) -> None:
    job_id = make.job(status="running", worker_id=worker)
    (job,) = shown(sql, job_id)
    sql(CHANGES[change])
    (changed,) = shown(sql, job_id, version=job["version"])
    assert (changed["id"], changed["is_unchanged"]) == (job_id, False)
    assert changed["version"] != job["version"]


def test_its_version_tells_nothing_of_the_database(worker, make, sql) -> None:
    job_id = make.job(status="running", worker_id=worker, message_id=secrets.token_hex(16))
    (job,) = shown(sql, job_id)
    xmin = sql("SELECT xmin::text AS number FROM background_jobs")[0]["number"]
    assert re.fullmatch("[0-9a-f]{1,16}", job["version"])
    assert job["version"] not in (xmin, f"{int(xmin):x}")
    sql("UPDATE background_jobs SET message_id = gen_random_uuid()")
    assert shown(sql, job_id)[0]["version"] != job["version"]


def test_its_version_ends_with_what_becomes_of_its_files(worker, make, sql) -> None:
    job_id = make.job(status="running", worker_id=worker)
    sql("INSERT INTO attachment_counts VALUES (:job, 0, 0, 0, 3)", job=job_id)
    (job,) = shown(sql, job_id)
    assert shown(sql, job_id, version=job["version"])[0]["is_unchanged"]
    sql("UPDATE attachment_counts SET deleted = 1, pending = 2")
    assert not shown(sql, job_id, version=job["version"])[0]["is_unchanged"]


STANDSTILLS = {
    "its last batch is old": "UPDATE background_jobs SET updated_at = now() - interval '3 s'",
    "its last heartbeat is old": "UPDATE background_jobs SET heartbeat_at = now() - interval '3 s'",
    "the clock jumped back": "UPDATE background_jobs SET updated_at = now() + interval '1 min'",
    "its worker is dead": "UPDATE background_jobs SET worker_id = 999",
    "it has no worker": "UPDATE background_jobs SET worker_id = NULL",
    "nobody watches the clock": "UPDATE watched_clock SET seen_at = NULL",
    "nobody has watched the clock for a while": "UPDATE watched_clock SET seen_at = now() - interval '7 s'",
    "there is no watched clock": "DELETE FROM watched_clock",
}


@pytest.mark.parametrize("why", STANDSTILLS)
def test_a_job_that_may_not_be_moving_has_no_version(why, worker, make, sql) -> None:
    """Not even if its row is the one that had it."""
    job_id = make.job(status="running", worker_id=worker)
    sql(STANDSTILLS[why])
    made_of = "to_hex(hashtextextended(concat_ws('-', message_id, xmin), 0))"
    (job,) = shown(sql, job_id, version=sql(f"SELECT {made_of} AS version FROM background_jobs")[0]["version"])
    assert (job["id"], job["version"], job["is_unchanged"]) == (job_id, None, False)


def test_whoever_knows_a_version_gets_no_answer_about_anothers_job(worker, make, sql) -> None:
    mine, other = make.business(), make.business()
    job_id = make.job(other, status="running", worker_id=worker)
    (job,) = shown(sql, job_id)
    assert shown(sql, job_id, business=mine, version=job["version"]) == []


def test_those_who_know_it_and_those_who_do_not_are_answered_together(worker, make, sql) -> None:
    one, two = (make.job(status="running", worker_id=worker) for _ in range(2))
    paused = make.job(status="paused")
    version = {job["id"]: job["version"] for job in shown(sql, one, two)}
    ids, versions = [one, one, two, paused, two], [None, version[one], version[one], "7", version[two]]
    found = sql(VIEW, ids=ids, businesses=[None] * 5, versions=versions)
    assert {(job["place"], job["id"], job["is_unchanged"]) for job in found} == {
        (1, one, False),
        (2, None, True),
        (3, two, False),
        (4, paused, False),
        (5, None, True),
    }


def test_the_release_before_sees_the_same_under_the_former_name(worker, make, sql) -> None:
    jobs = [make.job(status="running", worker_id=worker), make.job(status="paused")]
    businesses = [None, sql("SELECT business_id FROM background_jobs WHERE status = 'paused'")[0]["business_id"]]
    asked = {"ids": jobs, "businesses": businesses}
    new = sql(VIEW, **asked, versions=[None, None])
    old = sql("SELECT * FROM show_jobs(CAST(:ids AS bigint[]), CAST(:businesses AS bigint[]), 120, 300, 100)", **asked)
    assert [job.pop("asked_business_id") for job in old] == [businesses[job["place"] - 1] for job in new]
    assert old == [{name: job[name] for name in old[0]} for job in new]
