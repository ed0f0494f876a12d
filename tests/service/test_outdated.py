"""A database that can only be read, and a job that nothing can move: what is known is told, with the reason."""

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

CONFIRMED = {"confirm": "DELETE"}
READ_ONLY = "The database is read-only at the moment"


@pytest.fixture
def stuck(sql) -> Callable[..., None]:
    """stuck(job_id): every change of this job fails."""

    def make(job_id: int, raises: str = "'says no'") -> None:
        sql(f"""CREATE FUNCTION say_no() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN IF NEW.id = {job_id} THEN RAISE {raises}; END IF; RETURN NEW; END $$;
                CREATE TRIGGER say_no BEFORE UPDATE ON background_jobs FOR EACH ROW EXECUTE FUNCTION say_no()""")

    return make


@pytest.fixture
def read_only(sql):
    """All sessions that begin from now on."""

    def switch(to: str) -> None:
        (database,) = sql("SELECT current_database() AS name")
        sql(f"ALTER DATABASE {database['name']} SET default_transaction_read_only = {to}")

    return switch


def test_in_a_read_only_database_every_look_says_why_it_may_be_outdated(api, make, read_only) -> None:
    business_id = make.business()
    job_id = make.job(business_id, "running", worker_id=99, total=10, processed=5, succeeded=5)
    queued = make.job(business_id, job_type="sync_receipts")
    caller = api(business_id)
    read_only("on")
    with capture_logs() as lines:
        job = caller.get(f"/api/jobs/{job_id}")
    assert (job.status_code, job.json["status"], job.json["percent"]) == (200, "running", 50.0)
    assert job.json["notice"] == f"{READ_ONLY}; this is the last known state"
    assert [line["business_id"] for line in lines if line["event"] == "jobs.not_reconciled"] == [business_id]
    assert caller.get(f"/api/jobs/{queued}").json["notice"] is None
    listed = {one["job_id"]: one["notice"] for one in caller.get("/api/jobs").json["jobs"]}
    assert listed == {job_id: job.json["notice"], queued: None}
    assert caller.get(f"/api/jobs/{job_id}/events").json["notice"] == job.json["notice"]
    status = caller.get("/api/receipts/delete-job/status").json
    assert (status["has_active_job"], status["job"]["notice"]) == (True, job.json["notice"])

    read_only("off")
    mended = api(business_id).get(f"/api/jobs/{job_id}").json
    assert (mended["status"], mended["notice"]) == ("queued", None)


@pytest.mark.parametrize(("path", "body"), [("/api/jobs/{}/pause", None), ("/api/receipts/delete_all", CONFIRMED)])
def test_what_cannot_be_written_in_a_read_only_database_is_a_503_with_the_cause(
    path, body, api, make, read_only
) -> None:
    business_id = make.business()
    job_id = make.job(business_id, job_type="sync_receipts")
    caller = api(business_id)
    read_only("on")
    answer = caller.post(path.format(job_id), body)
    assert (answer.status_code, answer.json["code"], answer.json["error"]) == (503, "unavailable", READ_ONLY)


@pytest.mark.parametrize(
    ("raises", "says"),
    [
        ("'says no'", "The job could not be brought up to date"),
        ("disk_full", "The database is out of disk space"),
        ("insufficient_privilege", "The database refuses writes at the moment"),
        ("read_only_sql_transaction", READ_ONLY),
        ("lock_not_available", "The database is blocked by another session's lock at the moment"),
        ("feature_not_supported", "The job could not be brought up to date"),
    ],
)
def test_a_look_at_a_job_that_cannot_be_moved_tells_its_last_state_and_why(raises, says, api, make, stuck) -> None:
    business_id = make.business()
    job_id = make.job(business_id, "running", worker_id=99)
    stuck(job_id, raises)
    answer = api(business_id).get(f"/api/jobs/{job_id}")
    assert (answer.status_code, answer.json["status"]) == (200, "running")
    assert answer.json["notice"] == f"{says}; this is the last known state"


def test_one_job_that_cannot_be_moved_spoils_nothing_else_of_its_business(api, make, stuck, worker_id) -> None:
    business_id = make.business()
    stuck_id = make.job(business_id, "running", worker_id=99)
    other = make.job(business_id, job_type="sync_receipts")
    running = make.job(business_id, "running", worker_id=worker_id, job_type="sync_other")
    stuck(stuck_id)
    caller = api(business_id)
    assert caller.get("/api/jobs").status_code == 200
    assert caller.get(f"/api/jobs/{running}").status_code == 200
    assert caller.get(f"/api/jobs/{stuck_id}/events").status_code == 200
    assert caller.get("/api/receipts/delete-job/status").json["has_active_job"] is True
    refused = caller.post("/api/receipts/delete_all", CONFIRMED)
    assert (refused.status_code, refused.json["job_id"]) == (409, stuck_id)
    assert refused.json["progress"]["notice"]
    for job_id, status in ((other, "paused"), (running, "running")):
        assert caller.post(f"/api/jobs/{job_id}/pause").json["status"] == status
        assert caller.post(f"/api/jobs/{job_id}/cancel").status_code == 200


def test_a_reset_passes_over_what_cannot_be_moved_and_says_so(api, make, stuck, worker_id, job_row) -> None:
    business_id = make.business()
    stuck_id = make.job(business_id, "running", worker_id=worker_id)
    other = make.job(business_id, "running", worker_id=worker_id, job_type="sync_receipts")
    stuck(stuck_id)
    answer = api(None, "operator").post(f"/api/admin/business/{business_id}/reset-progress")
    assert (answer.status_code, answer.json["reset_count"]) == (200, 1)
    assert answer.json["message"] == "Successfully reset 1 stuck run; 1 could not be moved"
    assert [job_row(job_id)["status"] for job_id in (stuck_id, other)] == ["running", "failed"]


def test_a_start_of_another_type_than_the_stuck_one_takes_place(api, make, stuck) -> None:
    business_id = make.business()
    stuck(make.job(business_id, "running", worker_id=99, job_type="sync_receipts"))
    assert api(business_id).post("/api/receipts/delete_all", CONFIRMED).status_code == 202


def test_a_token_whose_use_cannot_be_noted_may_look_all_the_same(api, make, sql) -> None:
    caller = api(make.business())
    sql("""CREATE FUNCTION full_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE disk_full; END $$;
           CREATE TRIGGER full_up BEFORE UPDATE ON api_tokens FOR EACH ROW EXECUTE FUNCTION full_up()""")
    assert caller.get("/api/jobs").status_code == 200


def test_a_job_of_a_kind_that_no_live_worker_knows_says_so(api, make, sql, worker_id) -> None:
    """After a rollback: its messages are rejected, and sent again ever more rarely."""
    business_id = make.business()
    job_id = make.job(business_id, job_type="sync_receipts", resends=2)
    notice = "No live worker knows this kind of job"
    sql("UPDATE workers SET kinds = '{delete_receipts}'")
    assert api(business_id).get(f"/api/jobs/{job_id}").json["notice"] == notice
    assert api(business_id).get("/api/jobs").json["jobs"][0]["notice"] == notice
    sql("UPDATE workers SET kinds = '{delete_receipts, sync_receipts}'")
    assert api(business_id).get(f"/api/jobs/{job_id}").json["notice"] is None
    sql("UPDATE workers SET kinds = NULL")  # of the release before, which does not say
    assert api(business_id).get(f"/api/jobs/{job_id}").json["notice"] is None
