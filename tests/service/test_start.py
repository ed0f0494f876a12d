"""POST /api/jobs: a job of any kind."""

import pytest
from cryptography.fernet import Fernet

from actors.runtime.jobs.kinds import Kind
from service.job_rows import KINDS
from sql.states import ACTIVE
from tests.conftest import minutes_ago

JOBS = "/api/jobs"
DELETE_ALL = {"job_type": "delete_receipts", "confirm": "DELETE"}


def test_a_job_of_any_kind_is_started_and_the_answer_is_the_job(api, make, job_row) -> None:
    business_id = make.business()
    make.receipts(business_id, 7)
    answer = api(business_id).post(JOBS, DELETE_ALL)
    assert answer.status_code == 202
    job_id = answer.json["job_id"]
    assert (answer.json["status"], answer.json["total"], answer.json["workers_listening"]) == ("queued", 7, 0)
    assert answer.headers["location"] == answer.json["links"]["self"] == f"/api/jobs/{job_id}"
    assert int(answer.headers["retry-after"]) >= 1
    assert job_row(job_id)["job_type"] == "delete_receipts"


def test_the_address_of_its_own_and_the_one_for_all_kinds_are_one(api, make) -> None:
    """The cooldown and the one place are the same, whichever is used."""
    business_id = make.business()
    caller = api(business_id)
    first = caller.post("/api/receipts/delete_all", {"confirm": "DELETE"})
    second = caller.post(JOBS, DELETE_ALL)
    assert (first.status_code, second.status_code, second.json["code"]) == (202, 409, "job_active")
    assert second.json["job_id"] == first.json["job_id"]
    assert second.headers["location"] == f"/api/jobs/{first.json['job_id']}"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "'job_type' is missing"),
        ({"job_type": "paint_receipts"}, "Found the job_type 'paint_receipts', expected one of"),
        ({"job_type": "delete_receipts"}, "Found no confirm, expected 'DELETE'"),
        ({"job_type": "delete_receipts", "confirm": "delete"}, "Found confirm = 'delete', expected 'DELETE'"),
        ({"job_type": "delete_receipts", "confirm": "DELETE", "params": {"max_id": 3}}, "Unknown field 'max_id'"),
        ({"job_type": "delete_receipts", "confirm": "DELETE", "params": []}, "params"),
        ({"job_type": "delete_receipts", "confirm": "DELETE", "extra": 1}, "extra"),
        ({"job_type": 5}, "job_type"),
    ],
)
def test_a_start_that_is_not_understood_is_a_400_and_starts_nothing(body, sentence, api, make, sql) -> None:
    answer = api(make.business()).post(JOBS, body)
    assert (answer.status_code, answer.json["code"]) == (400, "invalid_input")
    assert sentence in answer.json["error"]
    assert sql("SELECT FROM background_jobs") == []


@pytest.mark.parametrize(
    ("job_type", "params", "error"),
    [
        ("restore_receipts", {"delete_job_id": "1_0"}, "Found delete_job_id = '1_0', expected only digits"),
        ("restore_receipts", {"delete_job_id": " +7 "}, "Found delete_job_id = ' +7 ', expected only digits"),
        ("restore_receipts", {"delete_job_id": "١"}, "Found delete_job_id = '١', expected only digits"),
        ("restore_receipts", {"delete_job_id": True}, "Found delete_job_id = 'True', expected only digits"),
        ("sync_receipts", {"connection_id": "0_1"}, "Found connection_id = '0_1', expected only digits"),
        ("export_receipts", {"from_date": "20217600"}, "Invalid from_date format: '20217600'. Use YYYY-MM-DD format"),
        ("export_receipts", {"to_date": 1735689600}, "Invalid to_date format: '1735689600'. Use YYYY-MM-DD format"),
        ("export_receipts", {"to_date": 0.5}, "Invalid to_date format: '0.5'. Use YYYY-MM-DD format"),
        ("export_receipts", {"to_date": True}, "Invalid to_date format: 'True'. Use YYYY-MM-DD format"),
        ("export_receipts", {"to_date": "٢٠٢٥-01-01"}, "Invalid to_date format: '٢٠٢٥-01-01'. Use YYYY-MM-DD format"),
        ("export_receipts", {"to_date": "2025-02-30"}, "Invalid to_date format: '2025-02-30'. Use YYYY-MM-DD format"),
        ("export_receipts", {"to_date": "2025-01-01T00:00"}, "Invalid to_date format: '2025-01-01T00:00'. Use YYYY-"),
    ],
)
def test_numbers_and_days_in_a_body_are_read_as_they_are_in_a_query(job_type, params, error, api, make) -> None:
    caller = api(make.business(), CONNECTION_KEYS=(Fernet.generate_key().decode(),))
    answer = caller.post(JOBS, {"job_type": job_type, "params": params})
    assert (answer.status_code, answer.json["error"].startswith(error)) == (400, True), answer.json
    if job_type == "sync_receipts":
        answer = caller.post("/api/receipts/sync", params)
        assert (answer.status_code, answer.json["error"]) == (400, error)


def test_what_is_wrong_is_told_of_each_field_for_a_form_to_show_it_there(api, make) -> None:
    caller = api(make.business())
    params = {"format": "xml", "from_date": "yesterday"}
    fields = caller.post(JOBS, {"job_type": "export_receipts", "params": params}).json["fields"]
    assert fields.keys() == {"format", "from_date"}
    assert fields["from_date"] == "Invalid from_date format: 'yesterday'. Use YYYY-MM-DD format"
    order = {"from_date": "2025-02-01", "to_date": "2025-01-01"}  # which of both is wrong cannot be told
    assert caller.post(JOBS, {"job_type": "export_receipts", "params": order}).json["fields"] == {}
    confirm = caller.post(JOBS, {"job_type": "delete_receipts", "confirm": "delete"}).json["fields"]
    assert confirm == {"confirm": "Found confirm = 'delete', expected 'DELETE'"}


def test_what_is_wrong_with_the_body_is_told_before_who_may_not_send_it(api, make) -> None:
    caller = api(make.business(), role="member")
    assert caller.post(JOBS, {"job_type": "delete_receipts"}).status_code == 400
    assert caller.post(JOBS, DELETE_ALL).status_code == 403


def test_an_operator_has_no_business_to_start_a_job_for(api) -> None:
    answer = api(None, role="operator").post(JOBS, DELETE_ALL)
    assert (answer.status_code, answer.json["code"]) == (403, "no_business")


@pytest.mark.parametrize("status", [*ACTIVE, "completed", "cancelled", "failed"])
def test_links_name_the_verbs_that_would_change_something_for_who_may_ask(status, api, make, worker_id) -> None:
    business_id = make.business()
    job_id = make.job(business_id, status=status, worker_id=worker_id if status == "running" else None)
    here = f"/api/jobs/{job_id}"
    expected = {
        "queued": {"pause", "cancel"},
        "running": {"pause", "cancel"},
        "paused": {"cancel", "resume"},
        "failed": {"resume"},
    }.get(status, set())
    links = api(business_id).get(here).json["links"]
    assert links == {"self": here, "events": f"{here}/events"} | {verb: f"{here}/{verb}" for verb in expected}
    assert api(business_id, role="member").get(here).json["links"] == {"self": here, "events": f"{here}/events"}


def test_a_job_that_waits_for_its_time_says_until_when_and_why_and_can_be_resumed(api, make, sql) -> None:
    business_id = make.business()
    job_id = make.job(business_id, wait_until="2999-01-01", waiting_for="the quota is used up")
    caller = api(business_id)
    job = caller.get(f"/api/jobs/{job_id}").json
    assert (job["status"], job["waiting_for"]) == ("queued", "the quota is used up")
    assert job["wait_until"].startswith("2999-01-01")
    assert "resume" in job["links"]
    resumed = caller.post(f"/api/jobs/{job_id}/resume")
    assert (resumed.status_code, resumed.json["wait_until"]) == (200, None)


def test_every_kind_has_what_the_api_needs_of_it() -> None:
    for kind in KINDS.values():
        assert isinstance(kind, Kind)
        assert kind.roles
        assert kind.params.model_json_schema()["type"] == "object"


def test_a_job_without_a_file_has_no_result(api, make) -> None:
    business_id = make.business()
    answer = api(business_id).get(f"/api/jobs/{make.job(business_id, status='completed')}/result")
    assert (answer.status_code, answer.json["code"]) == (404, "no_result")


def test_a_job_of_a_kind_that_is_gone_is_still_seen_and_can_be_cancelled(api, make) -> None:
    business_id = make.business()
    job_id = make.job(business_id, job_type="of_old", actor="of_old")
    caller = api(business_id)
    assert caller.get(f"/api/jobs/{job_id}").json["job_type"] == "of_old"
    assert caller.post(f"/api/jobs/{job_id}/cancel").json["status"] == "cancelled"


@pytest.mark.parametrize(
    ("undo_days", "ended_days_ago", "role", "columns", "offered"),
    [
        (7, 6, "owner", {}, True),
        (7, 6, "owner", {"status": "cancelled"}, True),
        (7, 8, "owner", {}, False),
        (0, 0, "owner", {}, False),
        (7, 6, "member", {}, False),
        (7, 6, "owner", {"processed": 0, "succeeded": 0}, False),
        (7, 6, "owner", {"job_type": "export_receipts"}, False),
        (7, 6, "owner", {"status": "paused", "finished_at": None}, False),
    ],
)
def test_undoing_is_offered_only_where_it_may_work(
    undo_days, ended_days_ago, role, columns, offered, api, make
) -> None:
    business_id = make.business()
    when = minutes_ago(ended_days_ago * 1440)
    ended = {"status": "completed", "processed": 2, "succeeded": 2, "finished_at": when}
    job_id = make.job(business_id, **{**ended, **columns})
    links = api(business_id, role=role, UNDO_DAYS=undo_days).get(f"/api/jobs/{job_id}").json["links"]
    assert links.get("restore") == ("/api/jobs" if offered else None)


@pytest.mark.parametrize(("role", "offered"), [("owner", True), ("member", False)])
def test_a_file_is_offered_only_to_who_may_have_it(role, offered, api, make) -> None:
    business_id = make.business()
    job_id = make.job(business_id, status="completed", job_type="export_receipts")
    assert ("result" in api(business_id, role=role).get(f"/api/jobs/{job_id}").json["links"]) is offered
