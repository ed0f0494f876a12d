"""A job that somebody edits by hand: refused, with the function that does it properly."""

import re
from itertools import permutations

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from sql.states import ACTIVE, FINISHED, STATUSES, TRANSITIONS


def by_hand(engine: Engine, statement: str, job_id: int) -> str:
    """What Postgres says to it."""
    with engine.connect() as connection, pytest.raises(DBAPIError) as refusal:
        connection.execute(text(statement), {"id": job_id})
    return str(refusal.value.orig)


@pytest.mark.parametrize(("old", "new"), list(permutations(STATUSES, 2)), ids=str)
def test_no_status_is_changed_by_hand_and_the_function_that_is_named_works(
    old, new, make, engine, sql, job_row
) -> None:
    job_id = make.job(status=old)
    before = job_row(job_id)
    finished = "now()" if new in FINISHED else "NULL"
    said = by_hand(
        engine, f"UPDATE background_jobs SET status = '{new}', finished_at = {finished} WHERE id = :id", job_id
    )
    assert f"the status of job {job_id} cannot be changed by hand from {old} to {new}: " in said
    assert job_row(job_id) == before
    for call in re.findall(r"SELECT (?:\* FROM )?ops\.\w+\(.*?\)", said):
        sql(call)
    if new in TRANSITIONS[old] and new not in ("running", "completed") and (old, new) != ("running", "queued"):
        assert job_row(job_id)["status"] == new or job_row(job_id)["requested"]


@pytest.mark.parametrize("status", STATUSES)
def test_no_job_is_deleted_by_hand(status, make, engine, sql, job_row) -> None:
    job_id = make.job(status=status)
    said = by_hand(engine, "DELETE FROM background_jobs WHERE id = :id", job_id)
    assert f"job {job_id} cannot be deleted by hand" in said
    assert ("ops.cancel_job" in said) == (status in ACTIVE)
    assert job_row(job_id)["status"] == status


def test_what_leaves_the_status_alone_is_nobodys_business(make, engine, job_row) -> None:
    job_id = make.job(status="running")
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE background_jobs SET status = status, last_error = 'x' WHERE id = :id"), {"id": job_id}
        )
    assert job_row(job_id)["last_error"] == "x"


def test_a_verb_opens_no_door_for_what_follows_in_its_transaction(make, engine, worker_id) -> None:
    job_id = make.job()
    for call in (
        "SELECT pause_job(:id, 'dana')",
        "SELECT resume_job(:id, 'dana')",
        f"SELECT claim_job(:id, {worker_id})",
        "SELECT clear_jobs(ARRAY[CAST(:id AS bigint)])",
        "SELECT leave_running(:id, 1, 'failed', 'failed', 'worker')",
    ):
        with engine.connect() as connection:
            connection.execute(text(call), {"id": job_id})
            with pytest.raises(DBAPIError, match="cannot be deleted by hand"), connection.begin_nested():
                connection.execute(text("DELETE FROM background_jobs WHERE id = :id"), {"id": job_id})
            connection.commit()


def test_of_the_jobs_that_are_to_be_cleared_only_those_that_have_ended_go(make, sql) -> None:
    jobs = {status: make.job(status=status) for status in STATUSES}
    make.job(status="completed")  # which nobody has named
    cleared = sql("SELECT clear_jobs(:ids) AS id", ids=list(jobs.values()))
    assert sorted(row["id"] for row in cleared) == sorted(jobs[status] for status in FINISHED)
    assert len(sql("SELECT FROM background_jobs")) == len(ACTIVE) + 1


INSTEAD = {  # what a hand wants → the functions that do it; final statuses have none
    ("failed", "completed"): ["resume_job"],
    ("failed", "cancelled"): [],
    ("failed", "paused"): ["resume_job"],
    ("running", "failed"): ["reset_job"],
    ("running", "queued"): ["reset_job", "resume_job"],
    ("queued", "running"): ["why"],
    **{(old, "completed"): ["cancel_job"] for old in ("queued", "running", "paused")},
    **{(old, "cancelled"): ["cancel_job"] for old in ("queued", "running", "paused")},
    **{(old, "paused"): ["pause_job"] for old in ("queued", "running")},
    **{(old, "failed"): ["cancel_job"] for old in ("queued", "paused")},
    **{(old, "running"): ["resume_job"] for old in ("paused", "failed")},
    **{(old, "queued"): ["resume_job"] for old in ("paused", "failed")},
}


def test_each_edit_by_hand_is_told_what_does_that_properly(sql) -> None:
    for old, new in permutations(STATUSES, 2):
        (told,) = sql("SELECT instead_of_a_hand(7, :old, :new) AS said", old=old, new=new)
        assert re.findall(r"ops\.(\w+)\(", told["said"]) == INSTEAD.get((old, new), []), (old, new)
        assert told["said"].startswith("that is final") is (old in ("completed", "cancelled"))
