"""Starting a delete job, and what a page is told when it opens."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

START = "/api/receipts/delete_all"
STATUS = "/api/receipts/delete-job/status"
CONFIRMED = {"confirm": "DELETE"}


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def test_a_start_answers_at_once_with_the_job_and_how_much_there_is_to_do(api, make, sql, job_row) -> None:
    business_id = make.business()
    ids = make.receipts(business_id, 7)
    make.receipts(make.business(), 5)
    caller = api(business_id)
    answer = caller.post(START, CONFIRMED)
    assert answer.status_code == 202
    job = job_row(answer.json["job_id"])
    address = f"/api/jobs/{job['id']}"
    assert (answer.headers["location"], answer.headers["retry-after"]) == (address, "2")
    assert (answer.json["status"], answer.json["total"]) == ("queued", 7)
    assert answer.json == {**caller.get(address).json, "workers_listening": 0}
    assert (job["params"], job["requested_by_user_id"], job["queue"]) == ({"max_id": ids[-1]}, 7, "maintenance")
    assert sql("SELECT message_id, state FROM dramatiq.queue") == [{"message_id": job["message_id"], "state": "queued"}]


def test_a_start_tells_how_many_live_workers_will_take_it(api, make, sql, worker_id) -> None:
    sql("UPDATE workers SET queues = '{low,maintenance}'")
    sql("INSERT INTO workers (hostname, pid, queues, release) VALUES ('dead', 1, '{maintenance}', '')")
    assert api(make.business()).post(START, CONFIRMED).json["workers_listening"] == 1
    sql("UPDATE workers SET kinds = '{sync_receipts, delete_receipts}'")
    assert api(make.business()).post(START, CONFIRMED).json["workers_listening"] == 1
    sql("UPDATE workers SET kinds = '{sync_receipts}'")  # it would reject the message
    assert api(make.business()).post(START, CONFIRMED).json["workers_listening"] == 0


@pytest.mark.parametrize(
    "body", [None, {}, {"confirm": "delete"}, {"confirm": True}, {"confirm": "DELETE", "all": 1}, [], "DELETE", 5]
)
def test_without_the_exact_confirmation_nothing_starts(body, api, make, sql) -> None:
    answer = api(make.business()).post(START, body)
    assert (answer.status_code, answer.json["code"]) == (400, "invalid_input")
    assert sql("SELECT FROM background_jobs") == []


@pytest.mark.parametrize("status", ["queued", "running", "paused"])
def test_while_a_job_is_active_another_start_is_a_409_with_its_progress(status, api, make, worker_id) -> None:
    business_id = make.business()
    job_id = make.job(
        business_id, status=status, total=582, processed=150, succeeded=150, worker_id=worker_id, cursor={"last_id": 1}
    )
    answer = api(business_id).post(START, CONFIRMED)
    assert (answer.status_code, answer.json["code"], answer.json["job_id"]) == (409, "job_active", job_id)
    assert answer.json["progress"]["percent"] == 25.8
    assert answer.json["progress"]["status"] == status


def test_a_job_of_a_dead_worker_is_told_as_queued_not_as_running(api, make) -> None:
    business_id = make.business()
    make.job(business_id, status="running", worker_id=99)
    answer = api(business_id).post(START, CONFIRMED)
    assert (answer.status_code, answer.json["progress"]["status"]) == (409, "queued")


def test_a_stale_job_makes_way_for_a_new_start(api, make, worker_id, job_row) -> None:
    business_id = make.business()
    stale = make.job(business_id, status="running", worker_id=worker_id, heartbeat_at=ago(121))
    assert api(business_id).post(START, CONFIRMED).status_code == 202
    assert job_row(stale)["status"] == "failed"


def test_within_a_minute_of_the_last_start_there_is_a_429_whatever_came_of_it(api, make) -> None:
    business_id = make.business()
    make.job(business_id, status="completed", created_at=ago(20))
    caller = api(business_id, DELETE_RATE_LIMIT_SECONDS=60)
    answer = caller.post(START, CONFIRMED)
    assert (answer.status_code, answer.json["code"]) == (429, "rate_limited")
    assert 30 <= int(answer.headers["retry-after"]) <= 40


def test_after_the_minute_for_another_business_or_without_a_limit_a_start_is_taken(api, make) -> None:
    business_id = make.business()
    make.job(business_id, status="completed", created_at=ago(61))
    assert api(business_id, DELETE_RATE_LIMIT_SECONDS=60).post(START, CONFIRMED).status_code == 202
    assert api(make.business(), DELETE_RATE_LIMIT_SECONDS=60).post(START, CONFIRMED).status_code == 202
    other = make.business()
    make.job(other, status="completed")
    assert api(other).post(START, CONFIRMED).status_code == 202


def test_an_active_job_is_a_409_even_within_the_minute(api, make) -> None:
    business_id = make.business()
    make.job(business_id)
    assert api(business_id, DELETE_RATE_LIMIT_SECONDS=60).post(START, CONFIRMED).status_code == 409


def test_when_counting_takes_too_long_the_start_leaves_it_to_the_worker(api, make, engine, monkeypatch) -> None:
    monkeypatch.setattr("actors.delete_receipts.COUNT", text("SELECT pg_sleep(30)"))
    answer = api(make.business()).post(START, CONFIRMED)
    assert (answer.status_code, answer.json["total"]) == (202, None)


def test_the_status_call_knows_no_job_an_active_one_and_one_that_just_turned_stale(api, make, worker_id) -> None:
    business_id = make.business()
    caller = api(business_id, "member")
    assert caller.get(STATUS).json == {"success": True, "has_active_job": False, "was_stale": False, "job": None}

    job_id = make.job(business_id, status="running", worker_id=worker_id, total=10, processed=5, succeeded=5)
    answer = caller.get(STATUS).json
    assert (answer["has_active_job"], answer["was_stale"]) == (True, False)
    assert (answer["job"]["job_id"], answer["job"]["percent"], answer["job"]["is_stale"]) == (job_id, 50.0, False)


@pytest.mark.parametrize(("column", "seconds"), [("heartbeat_at", 121), ("updated_at", 301)])
def test_the_status_call_fails_a_stale_job_and_says_so_once(column, seconds, api, make, worker_id) -> None:
    business_id = make.business()
    job_id = make.job(business_id, status="running", worker_id=worker_id, **{column: ago(seconds)})
    caller = api(business_id)
    answer = caller.get(STATUS).json
    assert (answer["has_active_job"], answer["was_stale"], answer["job"]["job_id"]) == (False, True, job_id)
    assert answer["job"]["status"] == "failed"
    assert answer["job"]["last_error"].startswith("Server restarted / job heartbeat lost: ")
    assert caller.get(STATUS).json["was_stale"] is False


def test_a_stale_job_that_was_to_be_paused_is_paused_and_not_told_as_failed(api, make, worker_id) -> None:
    business_id = make.business()
    make.job(business_id, status="running", requested="pause", worker_id=worker_id, heartbeat_at=ago(121))
    answer = api(business_id).get(STATUS).json
    assert (answer["has_active_job"], answer["was_stale"], answer["job"]["status"]) == (True, False, "paused")


def test_with_no_worker_at_all_the_status_call_still_tells_the_truth(api, make) -> None:
    business_id = make.business()
    make.job(business_id, status="running", worker_id=99, heartbeat_at=ago(5))
    answer = api(business_id).get(STATUS).json
    assert (answer["has_active_job"], answer["job"]["status"]) == (True, "queued")


@pytest.fixture
def overtaken(make, sql, monkeypatch):
    """overtaken(times, ends): so many starts meet a job that came past them, and that may have ended since."""
    import actors.runtime.jobs.start as module

    start, refuse_too_soon = module.start, module._refuse_too_soon

    def set_up(times: int, ends: bool) -> None:
        left = [times]

        def look(*arguments, **named):
            if ends:
                sql("UPDATE background_jobs SET status = 'completed', finished_at = now() WHERE status = 'queued'")
            return start(*arguments, **named)

        def come_past(connection, kind, settings, scope):  # once the look at the one place is over
            if left[0]:
                left[0] -= 1
                make.job(scope["business_id"])
            refuse_too_soon(connection, kind, settings, scope)

        monkeypatch.setattr("service.job_starts.start", look)
        monkeypatch.setattr(module, "_refuse_too_soon", come_past)

    return set_up


@pytest.mark.parametrize(
    ("times", "ends", "status", "code"),
    [(1, True, 202, None), (2, True, 202, None), (1, False, 409, "job_active"), (99, True, 503, "unavailable")],
)
def test_a_start_that_another_overtakes_tries_again_and_never_ends_in_a_500(
    times, ends, status, code, overtaken, api, make
) -> None:
    overtaken(times, ends)
    answer = api(make.business()).post(START, CONFIRMED)
    assert (answer.status_code, answer.json.get("code")) == (status, code)
