"""Who may do what."""

import time

import pytest
from sqlalchemy import text

OLD = "lh_made-by-the-first-release"

CALLS = [
    ("GET", "/api/receipts"),
    ("POST", "/api/receipts/delete_all"),
    ("GET", "/api/receipts/delete-job/status"),
    ("GET", "/api/jobs"),
    ("GET", "/api/jobs/1"),
    ("GET", "/api/jobs/1/events"),
    ("POST", "/api/jobs/1/cancel"),
    ("POST", "/api/jobs/1/pause"),
    ("POST", "/api/jobs/1/resume"),
    ("GET", "/api/receipts/jobs/1"),
    ("POST", "/api/receipts/jobs/1/cancel"),
    ("POST", "/api/receipts/jobs/1/pause"),
    ("POST", "/api/receipts/jobs/1/resume"),
]


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer wrong", "Basic bGg6eA==", "Bearer \u00e9", "lh_token"])
def test_without_a_good_token_every_call_is_a_401_before_anything_else_is_looked_at(header, api) -> None:
    headers = {"Authorization": header} if header else {}
    stranger = api()
    for method, path in CALLS:
        answer = stranger.call(method, path, headers=headers, body="x" * 100_000 if method == "POST" else None)
        assert (answer.status_code, answer.json["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_revoked_token_is_refused(api, make, sql) -> None:
    caller = api(make.business())
    assert caller.get("/api/jobs").status_code == 200
    sql("UPDATE api_tokens SET revoked_at = now()")
    assert caller.get("/api/jobs").status_code == 401


def test_a_revocation_bites_within_a_second_where_a_job_is_polled(api, make, sql) -> None:
    business_id = make.business()
    caller, job = api(business_id, READS_PER_SECOND=0), f"/api/jobs/{make.job(business_id)}"
    assert caller.get(job).status_code == 200
    sql("UPDATE api_tokens SET revoked_at = now()")
    began = asked_at = time.monotonic()
    assert caller.post(f"{job}/pause").status_code == 401  # what changes something is never taken on trust
    while caller.get(job).status_code == 200:
        assert asked_at - began < 1
        asked_at = time.monotonic()
    assert caller.get(job).status_code == 401


def test_the_token_itself_is_nowhere_in_the_database(make, sql) -> None:
    token = make.token(make.business())
    (row,) = sql("SELECT * FROM api_tokens")
    assert token not in str({name: bytes(v) if isinstance(v, memoryview) else v for name, v in row.items()})
    assert len(bytes(row["token_sha256"])) == 32


def test_the_last_use_of_a_token_is_noted_at_most_once_a_minute(api, make, sql) -> None:
    caller = api(make.business())
    for _ in range(2):
        caller.get("/api/jobs")
    (first,) = sql("SELECT last_used_at, xmin::text FROM api_tokens")
    caller.get("/api/jobs")
    assert sql("SELECT last_used_at, xmin::text FROM api_tokens") == [first]


@pytest.mark.parametrize("path", ["/api/receipts/delete_all", "/api/jobs/{}/cancel", "/api/jobs/{}/pause"])
def test_a_member_may_look_but_not_touch(path, api, make) -> None:
    business_id = make.business()
    member, job_id = api(business_id, "member"), make.job(business_id)
    answer = member.post(path.format(job_id), {"confirm": "DELETE"})
    assert (answer.status_code, answer.json["code"]) == (403, "forbidden")
    assert member.get(f"/api/jobs/{job_id}").status_code == 200


@pytest.mark.parametrize("role", ["owner", "admin"])
def test_an_owner_and_an_admin_may_touch(role, api, make) -> None:
    business_id = make.business()
    assert api(business_id, role).post(f"/api/jobs/{make.job(business_id)}/cancel").status_code == 200


def test_an_operator_may_name_any_job_but_has_no_business_of_his_own(api, make) -> None:
    operator, job_id = api(None, "operator"), make.job()
    assert operator.get(f"/api/jobs/{job_id}").status_code == 200
    assert operator.post(f"/api/jobs/{job_id}/pause").json["status"] == "paused"
    for method, path in (("GET", "/api/receipts"), ("GET", "/api/receipts/delete-job/status")):
        assert operator.call(method, path).status_code == 403
    assert operator.post("/api/receipts/delete_all", {"confirm": "DELETE"}).json["code"] == "no_business"


@pytest.mark.parametrize(("method", "end"), [("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/resume")])
def test_a_job_of_another_business_does_not_exist(method, end, api, make, job_row) -> None:
    job_id = make.job()
    answer = api(make.business()).call(method, f"/api/jobs/{job_id}{end}")
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")
    assert job_row(job_id)["status"] == "queued"


def test_a_token_of_the_first_release_goes_on_and_does_not_expire(api, make, sql) -> None:
    sql(
        """INSERT INTO api_tokens (token_sha256, business_id, user_id, role)
           VALUES (sha256(CAST(:token AS text)::bytea), :business_id, 7, 'owner')""",
        token=OLD,
        business_id=make.business(),
    )
    answer = api().get("/api/jobs", headers={"Authorization": f"Bearer {OLD}"})
    assert answer.status_code == 200
    assert "x-token-expires" not in answer.headers
    assert sql("SELECT id > 0 AS has_id, expires_at FROM api_tokens") == [{"has_id": True, "expires_at": None}]


def test_a_token_that_ends_within_14_days_is_warned_of_and_then_refused(api, make, sql) -> None:
    owner = api(make.business())
    for days, warned in ((15, False), (13, True)):
        sql("UPDATE api_tokens SET expires_at = now() + make_interval(days => :days)", days=days)
        assert ("x-token-expires" in owner.get("/api/jobs").headers) is warned
    sql("UPDATE api_tokens SET expires_at = now() - interval '1 second'")
    assert owner.get("/api/jobs").status_code == 401


@pytest.mark.parametrize("lock", ["UPDATE api_tokens SET revoked_at = now()", "SELECT FROM api_tokens FOR UPDATE"])
def test_a_row_lock_on_a_token_hangs_nobody(lock, api, make, engine, sql) -> None:
    business_id = make.business()
    owner = api(business_id)
    job_id = make.job(business_id)
    with engine.connect() as other:
        other.execute(text(lock))
        began = time.monotonic()
        assert owner.get("/api/jobs").status_code == 200
        assert owner.post(f"/api/jobs/{job_id}/pause").status_code == 200
        assert time.monotonic() - began < 5
        other.rollback()


def test_events_name_the_token_that_asked(api, make, events) -> None:
    business_id = make.business()
    make.receipts(business_id, 1)
    owner = api(business_id)
    job_id = owner.post("/api/receipts/delete_all", {"confirm": "DELETE"}).json["job_id"]
    owner.post(f"/api/jobs/{job_id}/pause")
    told = [event["detail"] for event in events(job_id)]
    assert len(told) == 2
    assert all(detail["token_id"] > 0 for detail in told)
