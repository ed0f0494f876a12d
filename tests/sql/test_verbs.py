"""Every verb against every status, and every way out of running, against the tables in sql/states.py."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from actors.runtime.base.config import QUEUES
from service.local.processes import wait_until
from sql.states import ACTIVE, FINISHED, RUNNING, STATUSES, TRANSITIONS, VERBS

SITUATIONS = [(status, None) for status in STATUSES] + [(RUNNING, "pause"), (RUNNING, "cancel")]


@pytest.mark.parametrize("situation", SITUATIONS, ids=str)
@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_does_to_each_status_what_the_table_says(verb, situation, make, sql, job_row, events) -> None:
    status, requested = situation
    job_id = make.job(status=status, requested=requested)
    before = job_row(job_id)
    expected = VERBS[verb].get(situation)
    if expected is None:
        with pytest.raises(DBAPIError) as refusal:
            sql(f"SELECT * FROM {verb}_job(:id, 'dana', 'why')", id=job_id)
        assert refusal.value.orig.pgcode == "LH409"
        assert refusal.value.orig.diag.message_detail == status
        about_to_be = " and about to be cancelled" if requested == "cancel" else ""
        assert f"job {job_id} is {status}{about_to_be}, so it cannot be " in str(refusal.value.orig)
        assert job_row(job_id) == before
        assert events(job_id) == []
        return
    answer = sql(f"SELECT * FROM {verb}_job(:id, 'dana', 'why')", id=job_id)[0]
    after = job_row(job_id)
    assert answer == after
    assert (after["status"], after["requested"]) == expected
    assert (after["finished_at"] is not None) == (after["status"] in FINISHED)
    told = events(job_id)
    if expected == situation:
        assert after == before
        assert told == []
    else:
        assert len(told) == 1
        assert (told[0]["from_status"], told[0]["to_status"]) == (status, after["status"])
        assert (told[0]["actor"], told[0]["reason"]) == ("dana", "why")


def test_every_verb_keeps_to_the_arrows() -> None:
    for verb in VERBS.values():
        for (before, _), (after, _) in verb.items():
            assert before == after or after in TRANSITIONS[before]


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_on_a_job_that_does_not_exist_says_so(verb, sql) -> None:
    with pytest.raises(DBAPIError) as refusal:
        sql(f"SELECT * FROM {verb}_job(404404, 'dana')")
    assert refusal.value.orig.pgcode == "LH404"
    assert "no job 404404" in str(refusal.value.orig)


def test_a_verb_waits_for_the_one_before_it_and_goes_by_what_that_left(make, engine, sql, job_row) -> None:
    job_id = make.job()
    with ThreadPoolExecutor(1) as pool, engine.connect() as first:
        first.execute(text("SELECT cancel_job(:id, 'dana')"), {"id": job_id})
        second = pool.submit(sql, "SELECT pause_job(:id, 'eli')", id=job_id)
        wait_until(lambda: sql("SELECT pid FROM pg_locks WHERE NOT granted"), 30, "the second to wait")
        first.commit()
        with pytest.raises(DBAPIError) as refusal:
            second.result(10)
    assert refusal.value.orig.pgcode == "LH409"
    assert job_row(job_id)["status"] == "cancelled"


ENDINGS = {  # (target, requested) → where it really goes
    ("completed", None): "completed",
    ("completed", "pause"): "completed",
    ("completed", "cancel"): "cancelled",
    ("queued", None): "queued",
    ("queued", "pause"): "paused",
    ("queued", "cancel"): "cancelled",
    ("failed", None): "failed",
    ("failed", "pause"): "paused",
    ("failed", "cancel"): "cancelled",
}


@pytest.mark.parametrize(("how", "ends"), ENDINGS.items(), ids=str)
def test_every_exit_from_running_honours_what_was_asked_for(how, ends, make, sql, job_row, events) -> None:
    target, requested = how
    job_id = make.job(status=RUNNING, requested=requested, attempt=3, worker_id=5)
    before = job_row(job_id)["updated_at"]
    sql("SELECT * FROM leave_running(:id, 3, :target, 'left', 'worker:5', 'reason')", id=job_id, target=target)
    row = job_row(job_id)
    assert (row["status"], row["requested"], row["worker_id"]) == (ends, None, None)
    assert (row["finished_at"] is not None) == (ends in FINISHED)
    assert row["updated_at"] > before
    assert row["last_error"] == ("reason" if ends == "failed" else None)
    (told,) = events(job_id)
    assert (told["from_status"], told["to_status"], told["worker_id"], told["attempt"]) == (RUNNING, ends, 5, 3)
    waiting = sql("SELECT * FROM dramatiq.queue WHERE message_id = :id", id=row["message_id"])
    assert len(waiting) == (ends == "queued")


def test_leaving_with_the_number_of_an_older_claim_changes_nothing(make, sql, job_row) -> None:
    job_id = make.job(status=RUNNING, attempt=4)
    before = job_row(job_id)
    assert sql("SELECT * FROM leave_running(:id, 3, 'completed', 'completed', 'worker:5')", id=job_id) == []
    assert job_row(job_id) == before


def test_resume_clears_what_ended_the_job_and_sends_a_message(make, sql, job_row) -> None:
    job_id = make.job(status="failed", last_error="boom", recoveries=3, cursor={"last_id": 9})
    sql("SELECT * FROM resume_job(:id, 'psql')", id=job_id)
    row = job_row(job_id)
    assert (row["status"], row["finished_at"], row["last_error"], row["recoveries"]) == ("queued", None, None, 0)
    assert row["cursor"] == {"last_id": 9}
    (message,) = sql("SELECT * FROM dramatiq.queue")
    assert message["message_id"] == row["message_id"]
    assert (message["state"], message["queue_name"]) == ("queued", "maintenance")
    assert message["message"]["args"] == [job_id]
    assert message["message"]["actor_name"] == "delete_receipts"


@pytest.mark.parametrize("status", ACTIVE)
def test_resume_while_another_job_of_the_type_is_active_names_that_job(status, make, sql, job_row) -> None:
    business_id = make.business()
    failed = make.job(business_id, status="failed")
    active = make.job(business_id, status=status)
    with pytest.raises(DBAPIError) as refusal:
        sql("SELECT * FROM resume_job(:id, 'psql')", id=failed)
    assert refusal.value.orig.pgcode == "LH423"
    assert refusal.value.orig.diag.message_detail == str(active)
    assert job_row(failed)["status"] == "failed"


def test_a_second_active_job_of_the_type_is_impossible(make) -> None:
    business_id = make.business()
    make.job(business_id, status="paused")
    with pytest.raises(IntegrityError, match="idx_background_jobs_unique_active"):
        make.job(business_id, status="queued")


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ({"status": "cancelling"}, "status_known"),
        ({"status": "queued", "requested": "pause"}, "requested_only_while_running"),
        ({"status": "running", "requested": "reset"}, "requested_known"),
        ({"status": "completed", "finished_at": None}, "finished_at_iff_finished"),
        ({"processed": 2, "succeeded": 1}, "processed_adds_up"),
        ({"processed": -1, "succeeded": -1}, "counters_not_negative"),
        ({"attempt": -1}, "attempts_not_negative"),
    ],
)
def test_the_database_refuses_a_job_that_cannot_be(columns: dict[str, Any], constraint: str, make) -> None:
    with pytest.raises(IntegrityError, match=f"background_jobs_{constraint}"):
        make.job(**columns)


def test_a_job_that_is_started_has_its_event_and_its_message_or_does_not_exist(make, engine, sql, events) -> None:
    business_id = make.business()
    start = "SELECT * FROM start_job(:b, 'delete_receipts', 'maintenance', '{}', 3, 7, 'user:7')"
    job = sql(start, b=business_id)[0]
    assert [(e["event"], e["from_status"], e["to_status"]) for e in events(job["id"])] == [("created", None, "queued")]
    assert sql("SELECT message_id FROM dramatiq.queue") == [{"message_id": job["message_id"]}]
    with pytest.raises(IntegrityError):
        sql(start, b=business_id)
    assert len(sql("SELECT FROM dramatiq.queue")) == 1


def test_the_events_of_a_job_form_an_unbroken_chain_of_statuses(make, sql, events, worker_id) -> None:
    job_id = make.job()
    for statement in (
        "SELECT pause_job(:id, 'dana')",
        "SELECT resume_job(:id, 'dana')",
        f"SELECT claim_job(:id, {worker_id})",
        "SELECT pause_job(:id, 'dana')",
        "SELECT leave_running(:id, 1, 'queued', 'requeued', 'worker')",
        "SELECT resume_job(:id, 'dana')",
        f"SELECT claim_job(:id, {worker_id})",
        "SELECT reset_job(:id, 'ops')",
        "SELECT resume_job(:id, 'dana')",
        "SELECT cancel_job(:id, 'dana')",
    ):
        sql(statement, id=job_id)
    told = events(job_id)
    for before, after in pairwise(told):
        assert before["to_status"] == after["from_status"]
        assert before["at"] <= after["at"]
    for event in told:
        assert event["from_status"] == event["to_status"] or event["to_status"] in TRANSITIONS[event["from_status"]]
    assert told[-1]["to_status"] == "cancelled"


@pytest.mark.parametrize(
    ("kind", "queue", "params", "says"),
    [
        ("Delete Receipts", "low", "{}", "job_type: found Delete Receipts"),
        ("delete_receipts", "nowhere", "{}", "queue: found nowhere"),
        ("delete_receipts", "low", "[]", "params: found array, expected an object"),
        ("delete_receipts", "low", "null", "params: found null, expected an object"),
        ("delete_receipts", "low", None, "params: found null, expected an object"),
    ],
)
def test_a_start_in_psql_that_no_worker_could_do_is_refused(kind, queue, params, says, make, sql) -> None:
    start = "SELECT * FROM start_job(:b, :kind, :queue, CAST(:params AS jsonb), 3, 7, 'dana')"
    with pytest.raises(DBAPIError, match=says) as refused:
        sql(start, b=make.business(), kind=kind, queue=queue, params=params)
    assert refused.value.orig.pgcode == "LH400"
    assert sql("SELECT FROM background_jobs") == []


def test_a_start_in_psql_takes_every_queue_that_workers_know(make, sql) -> None:
    for queue in QUEUES:
        sql("SELECT start_job(:b, 'delete_receipts', :queue, '{}', 3, 7, 'dana')", b=make.business(), queue=queue)
