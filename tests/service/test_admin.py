"""What only an operator may ask."""

import pytest


@pytest.fixture
def reset(api):
    """reset(business_id): by an operator."""

    def post(business_id, role="operator"):
        caller = api(None if role == "operator" else business_id, role)
        return caller.post(f"/api/admin/business/{business_id}/reset-progress")

    return post


def test_reset_progress_fails_the_running_jobs_of_the_business_and_no_others(reset, make, worker_id, job_row) -> None:
    business_id = make.business()
    running = make.job(business_id, "running", worker_id=worker_id, cursor={"last_id": 8}, processed=8, succeeded=8)
    other_type = make.job(business_id, "running", worker_id=worker_id, job_type="sync_receipts")
    finished = make.job(business_id, "completed")
    others = make.job(status="running", worker_id=worker_id)
    answer = reset(business_id)
    assert answer.status_code == 200
    assert answer.json == {"success": True, "message": "Successfully reset 2 stuck runs", "reset_count": 2}
    statuses = [job_row(job_id)["status"] for job_id in (running, other_type, finished, others)]
    assert statuses == ["failed", "failed", "completed", "running"]
    assert job_row(running)["last_error"] == "Reset by operator:7"
    assert (job_row(running)["cursor"], job_row(running)["processed"]) == ({"last_id": 8}, 8)
    again = reset(business_id)
    assert again.json == {"success": True, "message": "Successfully reset 0 stuck runs", "reset_count": 0}


def test_reset_progress_honours_what_somebody_had_asked(reset, make, worker_id, job_row) -> None:
    business_id = make.business()
    job_id = make.job(business_id, "running", worker_id=worker_id, requested="cancel")
    assert reset(business_id).json["message"] == "Successfully reset 1 stuck run"
    assert job_row(job_id)["status"] == "cancelled"


@pytest.mark.parametrize("role", ["owner", "admin", "member"])
def test_reset_progress_is_for_operators_only(role, reset, make, worker_id, job_row) -> None:
    business_id = make.business()
    job_id = make.job(business_id, "running", worker_id=worker_id)
    assert reset(business_id, role).status_code == 403
    assert job_row(job_id)["status"] == "running"


@pytest.mark.parametrize(("business_id", "status"), [(999, 404), ("x", 400), (2**63, 400)])
def test_reset_progress_of_a_business_that_is_none_says_so(business_id, status, reset) -> None:
    assert reset(business_id).status_code == status
