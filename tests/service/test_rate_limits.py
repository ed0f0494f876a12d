"""How often a token may ask."""

import pytest


@pytest.fixture
def job_id(make, business_id) -> int:
    return int(make.job(business_id))


@pytest.fixture
def business_id(make) -> int:
    return int(make.business())


def test_changes_that_took_place_are_counted_and_those_that_changed_nothing_are_not(
    api, business_id, job_id, sql
) -> None:
    owner = api(business_id, CHANGES_AT_ONCE=4, CHANGES_PER_SECOND=0.001)
    for _ in range(10):
        assert owner.post(f"/api/jobs/{job_id}/pause").status_code == 200  # the first changes it, the others nothing
    assert owner.post("/api/jobs/999999/pause").status_code == 404
    for verb in ("resume", "pause", "resume"):
        assert owner.post(f"/api/jobs/{job_id}/{verb}").status_code == 200
    refused = owner.post(f"/api/jobs/{job_id}/pause")
    assert (refused.status_code, refused.json["code"]) == (429, "too_many_requests")
    assert int(refused.headers["retry-after"]) == refused.json["retry_after"] > 900
    assert owner.get(f"/api/jobs/{job_id}").json["status"] == "queued"
    sql("UPDATE token_changes SET at = now() - interval '2000 seconds'")
    assert owner.post(f"/api/jobs/{job_id}/pause").status_code == 200


def test_one_tokens_changes_are_not_anothers_and_a_401_comes_first(api, business_id, job_id) -> None:
    busy = api(business_id, CHANGES_AT_ONCE=1, CHANGES_PER_SECOND=0.001)
    assert busy.post(f"/api/jobs/{job_id}/pause").status_code == 200
    assert busy.post(f"/api/jobs/{job_id}/resume").status_code == 429
    assert busy.post("/api/receipts/delete_all", b"x" * 100_000).status_code == 429
    assert api().post(f"/api/jobs/{job_id}/resume").status_code == 401
    assert api(business_id, CHANGES_AT_ONCE=1).post(f"/api/jobs/{job_id}/resume").status_code == 200


def test_a_start_is_a_change_and_a_start_that_is_refused_is_none(api, business_id, make) -> None:
    owner = api(business_id, CHANGES_AT_ONCE=2, CHANGES_PER_SECOND=0.001)
    assert owner.post("/api/receipts/delete_all", {"confirm": "DELETE"}).status_code == 202
    for _ in range(5):
        assert owner.post("/api/receipts/delete_all", {"confirm": "DELETE"}).status_code == 409
    assert owner.post("/api/receipts/delete_all", {}).status_code == 400


def test_reads_have_a_limit_of_their_own(api, business_id, reads_stand_still) -> None:
    reader = api(business_id, "member", READS_PER_SECOND=5)
    codes = [reader.get("/api/jobs").status_code for _ in range(30)]
    assert codes[:5] == [200] * 5
    assert 429 in codes
    assert api(business_id, "member", READS_PER_SECOND=5).get("/api/jobs").status_code == 200


def test_zero_switches_each_limit_off(api, business_id, job_id) -> None:
    owner = api(business_id, CHANGES_AT_ONCE=0, READS_PER_SECOND=0, REQUESTS_AT_ONCE=0)
    for _ in range(40):
        assert owner.post(f"/api/jobs/{job_id}/pause").status_code == 200
        assert owner.post(f"/api/jobs/{job_id}/resume").status_code == 200
        assert owner.get("/api/jobs").status_code == 200
