"""The receipt sync's own addresses."""

import pytest


@pytest.fixture
def connection(make, sql):
    """connection(business_id): one whose mailbox nobody opens."""

    def new(business_id: int) -> int:
        (row,) = sql(
            """INSERT INTO connections (business_id, provider, account, settings, secret)
               VALUES (:b, 'imap', 'dana', '{"host"\\: "mail.example", "port"\\: 993}', '\\x00') RETURNING id""",
            b=business_id,
        )
        return int(row["id"])

    return new


def test_a_sync_is_started_in_either_spelling_and_needs_no_id_of_the_only_connection(api, make, connection) -> None:
    business_id = make.business()
    one = connection(business_id)
    body = {"mode": "range", "fromDate": "2025-01-01", "to_date": "2025-02-01"}
    started = api(business_id).post("/api/receipts/sync", body)
    assert started.status_code == 202
    assert (started.json["job_type"], started.json["key"]) == ("sync_receipts", str(one))


@pytest.mark.parametrize(
    "body",
    [
        {"mode": "range"},
        {"mode": "full", "from_date": "2025-01-01"},
        {"mode": "range", "from_date": "2025-02-01", "to_date": "2025-01-01"},
        {"mode": "sideways"},
        {"connection_id": 0},
        {"connection_id": 1, "connectionId": 1},
    ],
)
def test_params_that_do_not_agree_are_refused(api, make, connection, body) -> None:
    business_id = make.business()
    connection(business_id)
    assert api(business_id).post("/api/receipts/sync", body).status_code == 400


def test_a_second_start_is_a_409_with_the_progress_of_the_first(api, make, connection) -> None:
    business_id = make.business()
    one = connection(business_id)
    stats = '{"messages_scanned": 40, "saved_receipts": 12, "pages_scanned": 2}'
    make.job(business_id, status="running", job_type="sync_receipts", key=str(one), stats=stats,
             total=100, processed=40, succeeded=40)  # fmt: skip
    refusal = api(business_id).post("/api/receipts/sync", {})
    assert (refusal.status_code, refusal.json["code"]) == (409, "job_active")
    progress = refusal.json["progress"]
    assert (progress["messages_scanned"], progress["saved_receipts"], progress["pages_scanned"]) == (40, 12, 2)
    assert progress["progress_percentage"] == 40.0
    assert progress["last_heartbeat_at"]
    assert progress["seconds_since_heartbeat"] < 60
    assert progress["job_id"] == refusal.json["job_id"]


def test_a_sync_without_a_sign_of_life_for_180_s_fails_and_the_next_one_starts(api, make, connection, sql) -> None:
    business_id = make.business()
    one = connection(business_id)
    dead = make.job(business_id, status="running", job_type="sync_receipts", key=str(one), stale_after="180 s")
    sql("UPDATE background_jobs SET heartbeat_at = now() - interval '170 s' WHERE id = :id", id=dead)
    owner = api(business_id)
    assert owner.post("/api/receipts/sync", {}).status_code == 409
    sql("UPDATE background_jobs SET heartbeat_at = now() - interval '190 s' WHERE id = :id", id=dead)
    status = owner.get("/api/receipts/sync/status").json
    assert (status["was_stale"], status["has_active_job"], status["job"]["job_id"]) == (True, False, dead)
    assert owner.post("/api/receipts/sync", {}).status_code == 202
    assert owner.get("/api/receipts/sync/status").json["has_active_job"]


def test_the_status_without_any_sync_is_none(api, make) -> None:
    status = api(make.business()).get("/api/receipts/sync/status").json
    assert (status["has_active_job"], status["job"], status["progress"]) == (False, None, None)


def test_without_a_connection_and_with_several_a_start_says_what_to_do(api, make, connection, sql) -> None:
    business_id = make.business()
    owner = api(business_id)
    assert owner.post("/api/receipts/sync", {}).status_code == 404
    connection(business_id)
    two = connection(business_id)
    assert owner.post("/api/receipts/sync", {}).json["code"] == "which_connection"
    assert owner.post("/api/receipts/sync", {"connectionId": two}).status_code == 202
    sql("UPDATE connections SET status = 'needs_reconnect' WHERE id <> :id", id=two)
    refusal = owner.post("/api/receipts/sync", {"connection_id": two - 1})
    assert (refusal.status_code, refusal.json["code"]) == (409, "needs_reconnect")


def test_a_member_may_look_and_not_start(api, make, connection) -> None:
    business_id = make.business()
    connection(business_id)
    member = api(business_id, "member")
    assert member.post("/api/receipts/sync", {}).status_code == 403
    assert member.get("/api/receipts/sync/status").status_code == 200


def test_messages_say_why_a_receipt_is_not_here_to_their_business_only(api, make, connection, sql) -> None:
    business_id = make.business()
    one = connection(business_id)
    sql(
        """INSERT INTO mail_messages (connection_id, business_id, uidvalidity, uid, message_hash, received_at, size,
                                      state, reason, decided_at)
           SELECT :c, :b, 1, n, sha256(int4send(n)), now(), 1,
                  CASE n % 2 WHEN 0 THEN 'not_receipt' ELSE 'unreadable' END, 'no_total', now()
           FROM generate_series(1, 6) n""",
        c=one, b=business_id,
    )  # fmt: skip
    member = api(business_id, "member")
    page = member.get("/api/receipts/sync/messages?state=not_receipt&limit=2").json
    assert [(one["uid"], one["reason"]) for one in page["messages"]] == [(6, "no_total"), (4, "no_total")]
    page = member.get(f"/api/receipts/sync/messages?state=not_receipt&limit=2&after={page['next_after']}").json
    assert ([one["uid"] for one in page["messages"]], page["next_after"]) == ([2], None)
    assert api(make.business()).get("/api/receipts/sync/messages").json["messages"] == []
    assert member.get("/api/receipts/sync/messages?state=lost").status_code == 400
