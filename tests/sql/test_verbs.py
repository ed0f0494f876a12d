"""Every verb against every status, and every way out of running, against the tables in sql/states.py."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import psycopg2
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from actors.runtime.base.config import QUEUES
from service.local.processes import wait_until
from sql.states import ACTIVE, FINISHED, RUNNING, STATUSES, TRANSITIONS, VERBS

NOW = datetime.now(UTC)
EARLIER, LATER = NOW - timedelta(hours=1), NOW + timedelta(hours=1)

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


@pytest.mark.parametrize(
    "second",
    [
        "leave_running(:id, 1, 'failed', 'failed', 'w')",
        "claim_job(:id, 9)",
        "claim_job(:id, 9, most => 1)",  # there is no place for it
    ],
)
def test_who_comes_second_to_a_job_goes_by_what_the_first_has_left(second, make, engine, sql, job_row) -> None:
    business_id = make.business()
    make.job(business_id, status="running", key="another")
    job_id = make.job(business_id, status="running" if "leave" in second else "queued")
    first_move = "leave_running(:id, 1, 'completed', 'completed', 'w')" if "leave" in second else "cancel_job(:id, 'w')"
    with ThreadPoolExecutor(1) as pool, engine.connect() as first:
        first.execute(text(f"SELECT {first_move}"), {"id": job_id})
        late = pool.submit(sql, f"SELECT * FROM {second}", id=job_id)
        wait_until(lambda: sql("SELECT pid FROM pg_locks WHERE NOT granted"), 30, "the second to wait")
        first.commit()
        assert late.result(10) == []
    row = job_row(job_id)
    assert (row["status"], row["wait_until"]) == ("completed" if "leave" in second else "cancelled", None)
    assert sql("SELECT FROM dramatiq.queue") == []


def test_a_message_that_somebody_holds_keeps_no_verb_waiting(make, engine, sql) -> None:
    job_id = make.job()
    sql("SELECT send_job_message(:id)", id=job_id)
    with engine.begin() as somebody, engine.begin() as session:
        somebody.execute(text("SELECT FROM dramatiq.queue FOR UPDATE"))
        session.execute(text("SET LOCAL lock_timeout = '1s'"))
        session.execute(text("SELECT pause_job(:id, 'dana')"), {"id": job_id})
    assert len(sql("SELECT FROM dramatiq.queue")) == 1  # whoever has it finds the job paused


def test_a_resume_refused_because_of_a_job_that_has_just_ended_names_none(make, sql) -> None:
    sql("CREATE UNIQUE INDEX one ON background_jobs (status) WHERE status = 'queued'")  # of another business
    make.job()
    failed = make.job(status="failed")
    with pytest.raises(DBAPIError, match=f"job {failed} cannot be resumed") as refusal:
        sql("SELECT resume_job(:id, 'dana')", id=failed)
    assert (refusal.value.orig.pgcode, refusal.value.orig.diag.message_detail or "") == ("LH423", "")


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


WAIT = {"wait_until": LATER, "waits_since": EARLIER, "waiting_for": "a quota"}
COUNTED = {"recoveries": 2, "refusals": 7, "failures": 3, "error_code": "refused", **(WAIT | {"wait_until": None})}


@pytest.mark.parametrize(
    ("verb", "status", "columns"),
    [
        ("pause", "queued", WAIT),
        ("cancel", "queued", WAIT),
        ("cancel", "paused", COUNTED),
        ("resume", "queued", {**WAIT, "failures": 3}),
        ("resume", "paused", COUNTED),
        ("resume", "failed", COUNTED),
    ],
)
def test_a_verb_that_moves_a_job_says_when_and_leaves_nothing_of_its_wait(verb, status, columns, make, sql) -> None:
    job_id = make.job(status=status, updated_at=EARLIER, **columns)
    row = sql(f"SELECT * FROM {verb}_job(:id, 'dana')", id=job_id)[0]
    assert row["updated_at"] >= NOW
    assert [row[name] for name in WAIT] == [None, None, None]
    if verb == "resume":  # what it met before counts no more
        assert [row[name] for name in ("recoveries", "refusals", "failures", "error_code")] == [0, 0, 0, None]


def test_resume_names_the_active_job_of_its_business_type_and_key_and_no_other(make, sql) -> None:
    others, business_id = make.business(), make.business()
    make.job(others, key="m")
    make.job(business_id, key="m", job_type="another")
    make.job(business_id, key="a")
    make.job(business_id, key="m", status="completed")
    failed = make.job(business_id, key="m", status="failed")
    active = make.job(business_id, key="m", status="paused")
    with pytest.raises(DBAPIError, match=f"job {failed} cannot be resumed while job {active} ") as refusal:
        sql("SELECT * FROM resume_job(:id, 'psql')", id=failed)
    assert refusal.value.orig.diag.message_detail == str(active)


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


def test_the_name_of_a_kind_has_up_to_63_characters(make, sql) -> None:
    start = "SELECT job_type, key, total FROM start_job(:b, :kind, 'low', '{}', 3, 7, 'dana', 'a key')"
    longest = "k" * 63
    assert len(sql(start, b=make.business(), kind="k")) == 1
    assert sql(start, b=make.business(), kind=longest) == [{"job_type": longest, "key": "a key", "total": 3}]
    with pytest.raises(DBAPIError, match="job_type: found"):
        sql(start, b=make.business(), kind=longest + "k")


@pytest.mark.parametrize("snoozed", [False, True])
def test_the_message_of_a_job_is_one_that_dramatiq_would_have_sent(snoozed, make, sql) -> None:
    job_id = make.job(wait_until=LATER if snoozed else EARLIER)
    began = time.time() * 1000
    message_id = str(sql("SELECT message_id FROM send_job_message(:id)", id=job_id)[0]["message_id"])
    (row,) = sql("SELECT message_id::text, queue_name, state::text, message FROM dramatiq.queue")
    sent_at = row["message"].pop("message_timestamp")
    place = "maintenance.DQ" if snoozed else "maintenance"
    assert row == {
        "message_id": message_id,
        "queue_name": place,
        "state": "queued",
        "message": {
            "queue_name": place,
            "actor_name": "delete_receipts",
            "args": [job_id],
            "kwargs": {},
            "options": {"eta": -(-LATER.timestamp() * 1_000_000 // 1000)} if snoozed else {},
            "message_id": message_id,
        },
    }
    assert abs(sent_at - began) < 60_000


def test_a_message_wakes_the_workers_of_its_queue_at_once_unless_it_has_to_wait(make, sql, settings) -> None:
    at_once, snoozed = make.job(), make.job(wait_until=LATER)
    with closing(psycopg2.connect(settings.DATABASE_URL)) as worker:
        worker.autocommit = True
        for name in ("maintenance", "maintenance.DQ"):
            worker.cursor().execute(f'LISTEN "dramatiq.{name}.enqueue"')
        sql("SELECT send_job_message(:id)", id=snoozed)
        sent = sql("SELECT message_id::text FROM send_job_message(:id)", id=at_once)
        worker.cursor().execute("SELECT 1")
        (heard,) = worker.notifies
    assert (heard.channel, json.loads(heard.payload)) == ("dramatiq.maintenance.enqueue", sent[0])


def test_a_claim_starts_all_clocks_but_that_of_the_first_and_forgets_what_was(make, sql, events) -> None:
    job_id = make.job(
        started_at=EARLIER, heartbeat_at=EARLIER, updated_at=EARLIER, resent_at=EARLIER, resends=3,
        error_code="refused", wait_until=EARLIER, waiting_for="a quota", cursor={"last_id": 5},
    )  # fmt: skip
    (row,) = sql("SELECT * FROM claim_job(:id, 9, 50, '41 s', '42 s')", id=job_id)
    assert (row["status"], row["attempt"], row["worker_id"], row["started_at"]) == ("running", 1, 9, EARLIER)
    assert min(row["heartbeat_at"], row["updated_at"]) >= NOW
    assert [row[name] for name in ("resent_at", "error_code", "wait_until", "waiting_for")] == [None] * 4
    assert row["resends"] == 0
    assert [row[name].total_seconds() for name in ("stale_after", "unchanged_after")] == [41, 42]
    assert [event["detail"] for event in events(job_id)] == [{"batch_size": 50, "cursor": {"last_id": 5}}]


@pytest.mark.parametrize(
    ("waited", "counts"), [(None, True), (timedelta(minutes=50), True), (timedelta(minutes=70), False)]
)
def test_a_wait_goes_on_over_claims_but_not_over_hours_in_which_nobody_came(waited, counts, make, sql, job_row) -> None:
    """What counts is how long the job has tried in vain."""
    now = datetime.now(UTC)
    since = now - timedelta(hours=20)
    job_id = make.job(waits_since=since, wait_until=None if waited is None else now - waited)
    sql("SELECT claim_job(:id, 9)", id=job_id)
    assert job_row(job_id)["waits_since"] == (since if counts else None)
    sql("SELECT leave_running(:id, 1, 'queued', 'requeued', 'worker:9', 'others wait')", id=job_id)
    assert job_row(job_id)["waits_since"] == (since if counts else None)
    sql("SELECT claim_job(:id, 9)", id=job_id)
    sql("SELECT leave_running(:id, 2, 'queued', 'snoozed', 'worker:9', 'a quota', '1 s')", id=job_id)
    again = job_row(job_id)["waits_since"]
    assert again == since if counts else again >= NOW


@pytest.mark.parametrize(
    ("columns", "types"),
    [
        ({"status": "paused"}, None),
        ({"wait_until": LATER, "waiting_for": "a quota"}, None),
        ({}, ["sync_receipts"]),
    ],
)
def test_a_claim_of_what_cannot_be_claimed_puts_nothing_off(columns, types, make, sql, job_row) -> None:
    business_id = make.business()
    make.job(business_id, status="running", key="1")
    job_id = make.job(business_id, key="2", **columns)
    before = job_row(job_id)
    assert sql("SELECT * FROM claim_job(:id, 9, types => :types, most => 1)", id=job_id, types=types) == []
    assert job_row(job_id) == before


def test_jobs_of_another_kind_or_business_take_no_place_of_a_kind_that_is_limited(make, sql, job_row) -> None:
    business_id = make.business()
    make.job(status="running")
    make.job(business_id, status="running", job_type="sync_receipts")
    job_id = make.job(business_id)
    assert len(sql("SELECT * FROM claim_job(:id, 9, most => 1)", id=job_id)) == 1


def test_a_wait_that_ends_for_another_reason_is_not_said_to_have_been_in_vain(make, sql, job_row, events) -> None:
    """After 24 hours it fails, but only if it wants to wait on."""
    since = NOW - timedelta(hours=25)
    for target, wait, ends in (("queued", None, "queued"), ("queued", "1 s", "failed"), ("failed", None, "failed")):
        job_id = make.job(status="running", waits_since=since)
        leave = "SELECT leave_running(:id, 1, :target, 'left', 'worker:9', 'a quota', CAST(:wait AS interval))"
        sql(leave, id=job_id, target=target, wait=wait)
        row, told = job_row(job_id), events(job_id)[-1]
        assert (row["status"], row["error_code"]) == (ends, "waited_in_vain" if wait else None)
        assert told["event"] == ("failed" if wait else "left")


def test_the_end_of_a_run_tells_how_far_it_came_and_until_when_it_waits(make, sql, job_row, events) -> None:
    far = {"cursor": {"last_id": 5}, "processed": 7, "succeeded": 7}
    leave = "SELECT leave_running(:id, 1, :target, 'left', 'worker:9', 'why', CAST(:wait AS interval), :code)"

    def told(target: str, wait: str | None = None, code: str | None = None, verb: str = "") -> dict[str, Any]:
        job_id = make.job(status="running", attempt=1, **far)
        if verb:
            sql(f"SELECT {verb}_job(:id, 'dana')", id=job_id)
        sql(leave, id=job_id, target=target, wait=wait, code=code)
        assert job_row(job_id)["error_code"] == (None if verb else code)
        return dict(events(job_id)[-1]["detail"])

    came = {"cursor": {"last_id": 5}, "processed": 7}
    assert told("completed") == came
    assert told("failed", code="refused") == came | {"code": "refused"}
    assert told("failed", code="refused", verb="pause") == came | {"error": "why"}
    assert told("queued", verb="pause") == came
    detail = told("queued", wait="1 hour")
    assert datetime.fromisoformat(detail.pop("wait_until")) > NOW + timedelta(minutes=59)
    assert detail == came


MOVES = [  # what moves a job of this status, its columns, and those that say when
    ("claim_job(:id, 9)", "queued", {}, ["heartbeat_at", "updated_at", "rate_from_at", "rate_next_at"]),
    ("pause_job(:id, 'dana')", "queued", {}, ["updated_at"]),
    ("cancel_job(:id, 'dana')", "paused", {}, ["updated_at", "finished_at"]),
    ("resume_job(:id, 'dana')", "failed", {}, ["updated_at"]),
    ("resume_job(:id, 'dana')", "queued", {"wait_until": LATER}, ["updated_at"]),
    ("leave_running(:id, 1, 'completed', 'completed', 'w')", "running", {}, ["updated_at", "finished_at"]),
    (
        "leave_running(:id, 1, 'queued', 'x', 'w', 'y', '0 s')",
        "running",
        {},
        ["updated_at", "waits_since", "wait_until"],
    ),
    ("resend_lost_messages()", "queued", {}, ["resent_at"]),
]


@pytest.mark.parametrize(("move", "status", "columns", "names"), MOVES, ids=[f"{one[1]} {one[0]}" for one in MOVES])
def test_in_a_long_transaction_a_job_is_moved_when_it_is_moved(move, status, columns, names, make, engine) -> None:
    """Not when the transaction began."""
    job_id = make.job(status=status, updated_at=EARLIER, **columns)
    with engine.begin() as session:
        began = session.scalar(text("SELECT now()"))
        row = session.execute(text(f"SELECT * FROM {move} WHERE id = :id"), {"id": job_id}).mappings().one()
    assert min(row[name] for name in names) > began


def test_what_ends_during_a_transaction_has_ended_in_it(make, engine) -> None:
    """A wait, the day that a job may wait in vain, and the hour in which nobody came."""
    business_id = make.business()
    due = "UPDATE background_jobs SET {} = clock_timestamp() - interval '{}' WHERE id = :id"
    with engine.begin() as session:

        def job(column: str, before: str, call: str, **columns: Any) -> Any:
            session.execute(text(due.format(column, before)), {"id": (job_id := ids.pop())})
            return session.execute(text(f"SELECT * FROM {call}"), {"id": job_id}).mappings().one()

        ids = [make.job(business_id, key=str(number)) for number in range(3)] + [make.job(waits_since=EARLIER)]
        assert job("wait_until", "1 hour", "claim_job(:id, 9)")["waits_since"] is None
        assert job("wait_until", "0 s", "claim_job(:id, 9, most => 1)")["status"] == "running"
        job("wait_until", "0 s", "send_job_message(:id)")
        assert session.scalar(text("SELECT queue_name FROM dramatiq.queue")) == "maintenance"
        waiting = "SELECT id FROM claim_job(:id, 9, most => 1)"
        session.execute(text(due.format("wait_until", "0 s")), {"id": ids[-1]})
        assert session.execute(text(waiting), {"id": ids[-1]}).all() == []
        again = "SELECT wait_until - interval '5 s' > now() FROM background_jobs WHERE id = :id"
        assert session.scalar(text(again), {"id": ids[-1]})


def test_who_has_waited_for_a_day_by_now_fails_in_a_long_transaction_too(make, engine) -> None:
    job_id = make.job(status="running")
    with engine.begin() as session:
        session.execute(text("UPDATE background_jobs SET waits_since = clock_timestamp() - interval '24 hours'"))
        leave = "SELECT status FROM leave_running(:id, 1, 'queued', 'x', 'w', 'y', '1 s')"
        assert session.scalar(text(leave), {"id": job_id}) == "failed"


def test_a_wait_is_a_tenth_of_all_before_it_those_of_its_transaction_too(make, engine) -> None:
    job_id = make.job(status="running")
    with engine.begin() as session:
        session.execute(text("UPDATE background_jobs SET waits_since = now()"))
        session.execute(text("SELECT pg_sleep(0.1)"))
        leave = "SELECT wait_until - updated_at FROM leave_running(:id, 1, 'queued', 'x', 'w', 'y', '0 s')"
        assert session.scalar(text(leave), {"id": job_id}) >= timedelta(milliseconds=10)
