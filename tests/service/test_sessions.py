"""Signing in to the page, and what a cookie is worth from then on."""

import re
import time
from http.cookies import SimpleCookie
from typing import Any

import pytest
from sqlalchemy import text

from actors.runtime.worker.retention import clear_old_rows
from service.local.processes import wait_until

HERE = {"Sec-Fetch-Site": "same-origin"}


class Browser:
    """Sends its cookie along, as a browser does, and says that our page asks; or another site's."""

    def __init__(self, api: Any, cookie: str = "") -> None:
        self.api = api
        self.cookie = cookie

    def call(self, method: str, path: str, site: str | None = "same-origin", **options: Any) -> Any:
        headers = {"Cookie": self.cookie} if self.cookie else {}
        headers |= {"Sec-Fetch-Site": site} if site else {}
        headers |= options.pop("headers", {})
        return self.api.call(method, path, **options, headers=headers)

    def sign_in(self, token: str, **options: Any) -> Any:
        answer = self.call("POST", "/api/session", json={"token": token}, **options)
        for cookie in SimpleCookie(answer.headers.get("set-cookie", "")).values():
            self.cookie = f"{cookie.key}={cookie.value}"
        return answer

    def is_in(self) -> bool:
        return bool(self.call("GET", "/api/session").json["signed_in"])


@pytest.fixture
def browser(api):
    return lambda cookie="", **settings: Browser(api(**settings), cookie)


@pytest.fixture
def token(make) -> str:
    return str(make.token(make.business("Dana & Sons")))


@pytest.fixture
def signed_in(browser, token) -> Browser:
    mine = browser()
    assert mine.sign_in(token).status_code == 200
    return mine


def test_before_signing_in_the_answer_is_a_200_that_says_so(browser) -> None:
    answer = browser().call("GET", "/api/session")
    assert (answer.status_code, answer.json["signed_in"], answer.json["business_id"]) == (200, False, None)
    assert "set-cookie" not in answer.headers


def test_a_token_becomes_a_cookie_that_no_script_and_no_other_site_can_use(browser, token, sql) -> None:
    answer = browser().sign_in(token)
    (cookie,) = SimpleCookie(answer.headers["set-cookie"]).values()
    assert (cookie.key, cookie["path"], cookie["samesite"], cookie["httponly"]) == (
        "longhaul_session",
        "/",
        "Strict",
        True,
    )
    assert cookie["secure"] == ""
    assert 43_100 < int(cookie["max-age"]) <= 43_200
    (row,) = sql("SELECT t.id, t.business_id FROM api_tokens t")
    assert (
        answer.json.items()
        >= {
            "signed_in": True,
            "business_id": row["business_id"],
            "business_name": "Dana & Sons",
            "role": "owner",
            "user_id": 7,
            "token_id": row["id"],
        }.items()
    )


def test_where_the_page_is_reached_over_tls_the_cookie_is_secure_and_this_hosts_only(browser, token) -> None:
    mine = browser(PUBLIC_URL="https://longhaul.example")
    (cookie,) = SimpleCookie(mine.sign_in(token).headers["set-cookie"]).values()
    assert (cookie.key, cookie["secure"], cookie["domain"]) == ("__Host-longhaul_session", True, "")
    assert mine.is_in()
    assert not browser(mine.cookie.removeprefix("__Host-"), PUBLIC_URL="https://longhaul.example").is_in()


def test_a_session_may_what_its_token_may(signed_in, make, sql) -> None:
    (row,) = sql("SELECT business_id FROM api_tokens")
    make.receipts(row["business_id"], 3)
    assert len(signed_in.call("GET", "/api/receipts").json["receipts"]) == 3
    started = signed_in.call("POST", "/api/receipts/delete_all", json={"confirm": "DELETE"})
    assert started.status_code == 202
    stranger = make.job()
    assert signed_in.call("GET", f"/api/jobs/{stranger}").status_code == 404


def test_an_operator_signs_in_too_and_sees_all_businesses(browser, make) -> None:
    mine = browser()
    answer = mine.sign_in(make.token(None, "operator"))
    assert (answer.json["role"], answer.json["business_id"], answer.json["business_name"]) == ("operator", None, None)
    jobs = {make.job(), make.job()}
    assert {job["job_id"] for job in mine.call("GET", "/api/jobs").json["jobs"]} == jobs


@pytest.mark.parametrize("given", ["lh_1_wrong", " ", "x" * 300, 5, None, "lh_1_\u05e9"])
def test_a_token_that_is_not_good_sets_no_cookie_and_is_not_repeated(given, browser) -> None:
    answer = browser().sign_in(given)
    assert answer.status_code in (400, 401)
    assert "set-cookie" not in answer.headers
    assert "xxxx" not in answer.text


def test_half_a_character_in_a_token_is_a_400_and_no_error_of_ours(browser) -> None:
    body = b'{"token": "lh_1_\\ud800"}'
    answer = browser().call("POST", "/api/session", body=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json["code"]) == (400, "invalid_input")


def test_a_cookie_that_was_there_before_is_worth_nothing_after_signing_in(browser, token, sql) -> None:
    planted = "longhaul_session=planted-by-somebody-else"
    mine = browser(planted)
    mine.sign_in(token)
    assert mine.cookie != planted
    assert not browser(planted).is_in()
    first = mine.cookie
    mine.sign_in(token)
    assert mine.cookie != first
    assert not browser(first).is_in()
    assert sql("SELECT count(*) AS n FROM sessions") == [{"n": 1}]


def test_only_a_hash_of_the_session_is_kept(signed_in, sql) -> None:
    secret = signed_in.cookie.partition("=")[2]
    assert len(secret) >= 43
    (row,) = sql("SELECT * FROM sessions")
    assert secret not in str({name: bytes(v) if isinstance(v, memoryview) else v for name, v in row.items()})
    assert len(bytes(row["session_sha256"])) == 32


@pytest.mark.parametrize("end", ["revoked_at = now()", "expires_at = now() - interval '1 second'"])
def test_a_session_ends_with_its_token(end, signed_in, sql) -> None:
    sql(f"UPDATE api_tokens SET {end}")
    answer = signed_in.call("GET", "/api/jobs")
    assert (answer.status_code, answer.json["code"]) == (401, "unauthorized")
    assert not signed_in.is_in()


def test_signing_out_bites_within_a_second_where_a_job_is_polled(browser, token, make, sql) -> None:
    mine = browser(READS_PER_SECOND=0)
    mine.sign_in(token)
    (business,) = sql("SELECT id FROM businesses")
    job = f"/api/jobs/{make.job(business['id'])}"
    assert mine.call("GET", job).status_code == 200
    sql("DELETE FROM sessions")
    began = asked_at = time.monotonic()
    while mine.call("GET", job).status_code == 200:
        assert asked_at - began < 1
        asked_at = time.monotonic()
    assert mine.call("GET", "/api/jobs").status_code == 401


def test_a_session_ends_after_12_hours_however_much_it_is_used(signed_in, sql) -> None:
    sql("UPDATE sessions SET created_at = now() - interval '12 hours', expires_at = now() - interval '1 second'")
    assert signed_in.call("GET", "/api/jobs").status_code == 401


def test_beyond_50_sessions_of_a_token_the_oldest_ends(browser, token, make, monkeypatch) -> None:
    monkeypatch.setattr("service.sessions.MOST", 2)
    other = browser()
    other.sign_in(make.token(make.business()))
    mine = [browser() for _ in range(3)]
    for one in mine:
        one.sign_in(token)
    assert [one.is_in() for one in (*mine, other)] == [False, True, True, True]


def test_a_session_holds_no_longer_than_its_token(browser, token, sql) -> None:
    sql("UPDATE api_tokens SET expires_at = now() + interval '1 hour'")
    answer = browser().sign_in(token)
    (cookie,) = SimpleCookie(answer.headers["set-cookie"]).values()
    assert 3_500 < int(cookie["max-age"]) <= 3_600


def test_signing_out_ends_the_session_in_the_database_and_clears_the_browser(signed_in, browser, sql) -> None:
    before = signed_in.cookie
    answer = signed_in.call("DELETE", "/api/session")
    assert (answer.status_code, answer.json["signed_in"]) == (200, False)
    assert "longhaul_session=;" in answer.headers["set-cookie"].replace('""', "")
    assert "1970" in answer.headers["set-cookie"]
    assert answer.headers["clear-site-data"] == '"cache", "storage"'
    assert sql("SELECT FROM sessions") == []
    assert not browser(before).is_in()
    assert browser(before).call("DELETE", "/api/session").status_code == 200


def test_signing_out_everywhere_ends_all_sessions_of_this_user_and_of_no_other(browser, make) -> None:
    business_id = make.business()
    mine, other_token = browser(), browser()
    mine.sign_in(make.token(business_id))
    other_token.sign_in(make.token(business_id, "admin"))
    colleague, namesake = browser(), browser()
    colleague.sign_in(make.token(business_id, user_id=8))
    namesake.sign_in(make.token(make.business(), user_id=7))
    assert mine.call("DELETE", "/api/session?everywhere=true").status_code == 200
    assert [one.is_in() for one in (mine, other_token, colleague, namesake)] == [False, False, True, True]
    assert mine.call("DELETE", "/api/session?everywhere=true").status_code == 401


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", None])
def test_another_site_can_neither_write_nor_sign_out_with_the_cookie(site, signed_in, make, sql, job_row) -> None:
    (row,) = sql("SELECT business_id FROM api_tokens")
    job_id = make.job(row["business_id"])
    for method, path in (("POST", f"/api/jobs/{job_id}/cancel"), ("DELETE", "/api/session")):
        answer = signed_in.call(method, path, site)
        assert (answer.status_code, answer.json["code"]) == (403, "cross_origin")
    assert job_row(job_id)["status"] == "queued"
    assert signed_in.is_in()


def test_another_site_cannot_sign_somebody_in(browser, token, sql) -> None:
    assert browser().sign_in(token, site="cross-site").status_code == 403
    assert sql("SELECT FROM sessions") == []


@pytest.mark.parametrize(
    ("origin", "public_url", "status"),
    [
        ("http://falconframework.org", None, 200),
        ("http://elsewhere.example", None, 403),
        ("null", None, 403),
        ("http://[", None, 403),
        ("https://longhaul.example", "https://longhaul.example", 200),
        ("http://longhaul.example", "https://longhaul.example", 403),
        ("https://longhaul.example.org", "https://longhaul.example", 403),
    ],
)
def test_without_sec_fetch_site_the_origin_has_to_be_ours(origin, public_url, status, browser, make) -> None:
    business_id = make.business()
    mine = browser(PUBLIC_URL=public_url)
    mine.sign_in(make.token(business_id))
    answer = mine.call("POST", f"/api/jobs/{make.job(business_id)}/pause", None, headers={"Origin": origin})
    assert answer.status_code == status


def test_a_token_in_the_header_is_what_counts_and_needs_no_origin(signed_in, make) -> None:
    other = make.business()
    job_id = make.job(other)
    bearer = {"Authorization": f"Bearer {make.token(other)}"}
    assert signed_in.call("GET", f"/api/jobs/{job_id}").status_code == 404
    assert signed_in.call("POST", f"/api/jobs/{job_id}/pause", "cross-site", headers=bearer).status_code == 200
    assert signed_in.call("GET", "/api/jobs", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_asking_who_is_signed_in_counts_as_a_read(browser, token, reads_stand_still) -> None:
    mine = browser(READS_PER_SECOND=5)
    mine.sign_in(token)
    codes = [mine.call("GET", "/api/session").status_code for _ in range(30)]
    assert (codes[0], 429 in codes) == (200, True)
    assert 429 in [mine.call("GET", "/api/jobs").status_code for _ in range(2)]  # one and the same limit
    assert {browser(READS_PER_SECOND=5).call("GET", "/api/session").status_code for _ in range(30)} == {200}


@pytest.mark.parametrize("where", ["", "?everywhere=true"])
def test_signing_out_counts_as_a_read_and_can_be_done_without_changes_left(
    where, browser, token, reads_stand_still
) -> None:
    mine = browser(READS_PER_SECOND=5, CHANGES_AT_ONCE=1, CHANGES_PER_SECOND=0.001)
    bearer = {"Authorization": f"Bearer {token}"}
    assert mine.sign_in(token).status_code == 200
    codes = [mine.call("DELETE", f"/api/session{where}", headers=bearer).status_code for _ in range(10)]
    assert (codes[0], codes[-1]) == (200, 429)


def test_signing_in_counts_as_a_change_of_its_token(browser, token) -> None:
    mine = browser(CHANGES_AT_ONCE=2, CHANGES_PER_SECOND=0.001)
    assert [mine.sign_in(token).status_code for _ in range(3)] == [200, 200, 429]


def test_a_lock_on_the_token_hangs_nobody_who_signs_in(browser, token, engine) -> None:
    with engine.connect() as other:
        other.execute(text("SELECT FROM api_tokens FOR UPDATE"))
        assert browser().sign_in(token).status_code == 200
        other.rollback()


def test_sessions_that_are_over_are_cleared_away(browser, make, sql, engine, settings) -> None:
    business_id = make.business()
    tokens = [make.token(business_id) for _ in range(4)]
    mine = [browser() for _ in tokens]
    for one, token in zip(mine, tokens, strict=True):
        one.sign_in(token)
    ids = [row["id"] for row in sql("SELECT id FROM sessions ORDER BY id")]
    sql(
        "UPDATE sessions SET created_at = now() - interval '1 day', expires_at = now() - interval '1 s' WHERE id = :i",
        i=ids[0],
    )
    sql("UPDATE api_tokens SET revoked_at = now() WHERE id = (SELECT token_id FROM sessions WHERE id = :i)", i=ids[1])
    sql(
        """UPDATE api_tokens SET created_at = now() - interval '1 day', expires_at = now() - interval '1 s'
           WHERE id = (SELECT token_id FROM sessions WHERE id = :i)""",
        i=ids[2],
    )
    clear_old_rows(engine, settings)
    assert [row["id"] for row in sql("SELECT id FROM sessions")] == ids[3:]
    assert mine[3].is_in()


def test_neither_token_nor_session_is_in_any_log(start, web, make, tmp_path) -> None:
    token = make.token(make.business())
    client = web()
    client.headers["Sec-Fetch-Site"] = "same-origin"
    answer = client.post("/api/session", {"token": token})
    cookie = answer.headers["set-cookie"].partition(";")[0]
    client.headers["Cookie"] = cookie
    assert client.get("/api/session").body["signed_in"]
    assert client.get("/api/jobs").status == 200
    assert client.post("/api/session", {"token": "lh_1_no-such-token"}).status == 401
    assert client.post("/api/session", {"token": token, "more": 1}).status == 400

    def logs() -> str:
        return "".join(file.read_text() for file in tmp_path.glob("*.log"))

    wait_until(lambda: logs().count("/api/session") == 4, 30, "the log")
    secrets = (token, cookie.partition("=")[2], "no-such-token")
    assert not [secret for secret in secrets if secret in logs()]
    assert re.search(r'"token": [0-9]+', logs())


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_page_drawn_for_another_token_is_refused(signed_in, make, method) -> None:
    mine = signed_in.call("GET", "/api/session").json["token_id"]
    path = "/api/receipts/delete_all" if method == "POST" else "/api/receipts"
    body = {"json": {"confirm": "DELETE"}} if method == "POST" else {}
    for other in (str(mine + 1), "", "nobody"):
        answer = signed_in.call(method, path, headers={"X-Longhaul-Token": other}, **body)
        assert (answer.status_code, answer.json["code"]) == (401, "other_session")
    assert signed_in.call(method, path, headers={"X-Longhaul-Token": str(mine)}, **body).status_code in (200, 202)


def test_a_token_in_the_header_needs_to_name_no_page(api, token) -> None:
    headers = {"Authorization": f"Bearer {token}", "X-Longhaul-Token": "0"}
    assert api().call("GET", "/api/receipts", headers=headers).status_code == 200
