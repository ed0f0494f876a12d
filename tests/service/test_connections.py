"""Connecting a mailbox: who may, what is checked, and that its password is told nowhere."""

import itertools
import json

import pytest

from actors.outside.vault import Vault
from tests.service.conftest import changed


@pytest.fixture
def owner(api, make, connecting):
    """owner(): of a new business, where mailboxes on this machine can be connected."""
    return lambda role="owner", **changes: api(make.business(), role, **{**connecting, **changes})


def test_a_mailbox_is_connected_listed_tested_and_deleted(owner, mails, sql) -> None:
    caller = owner()
    made = caller.post("/api/connections", {**mails.params, "currency": "ILS", "timezone": "Asia/Jerusalem"})
    assert made.status_code == 201
    assert "ready" in made.json["server_said"]
    (row,) = caller.get("/api/connections").json["connections"]
    assert (row["account"], row["status"], row["settings"]["currency"]) == ("dana", "connected", "ILS")
    assert "secret" not in row
    here = f"/api/connections/{made.json['connection_id']}"
    assert made.headers["location"] == here
    assert caller.post(f"{here}/test").status_code == 200
    assert caller.call("DELETE", here).status_code == 200
    assert caller.get("/api/connections").json["connections"] == []
    assert caller.call("DELETE", here).status_code == 404
    assert caller.post(f"{here}/test").status_code == 404
    assert sql("SELECT secret FROM connections") == [{"secret": None}]
    events = sql("SELECT event, actor FROM connection_events ORDER BY id")
    assert [event["event"] for event in events] == ["connected", "tested", "deleted"]
    assert {event["actor"] for event in events} == {"user:7"}


def test_a_deleted_connection_cancels_its_jobs(owner, mails, sql, job_row, make) -> None:
    caller = owner()
    made = caller.post("/api/connections", mails.params).json["connection_id"]
    (row,) = sql("SELECT business_id FROM connections")
    mine = make.job(row["business_id"], job_type="sync_receipts", key=str(made))
    other = make.job(row["business_id"], job_type="sync_receipts", key="9999")
    assert caller.call("DELETE", f"/api/connections/{made}").status_code == 200
    assert (job_row(mine)["status"], job_row(other)["status"]) == ("cancelled", "queued")


def test_only_owners_and_admins_may_connect_list_test_and_delete(owner, mails) -> None:
    member = owner("member")
    for method, path in (("GET", ""), ("DELETE", "/1"), ("POST", "/1/test")):
        assert member.call(method, f"/api/connections{path}").status_code == 403
    assert member.post("/api/connections", mails.params).status_code == 403


def test_another_business_has_no_part_in_a_connection(owner, mails) -> None:
    made = owner().post("/api/connections", mails.params).json["connection_id"]
    stranger = owner()
    assert stranger.get("/api/connections").json["connections"] == []
    assert stranger.post(f"/api/connections/{made}/test").status_code == 404
    assert stranger.call("DELETE", f"/api/connections/{made}").status_code == 404


def test_without_keys_connecting_is_not_configured_and_all_else_works(owner, mails) -> None:
    caller = owner(CONNECTION_KEYS=())
    refusal = caller.post("/api/connections", mails.params)
    assert (refusal.status_code, refusal.json["code"]) == (503, "not_configured")
    assert caller.get("/api/connections").json["connections"] == []


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"password": "wrong-one"}, 400, "login_refused"),
        ({"folder": "Nope"}, 400, "folder_missing"),
        ({"host": "no-such-host.invalid"}, 400, "unknown_host"),
        ({"host": "8.8.8.8"}, 400, "invalid_input"),  # in clear over the internet
        ({"currency": "EURO"}, 400, "invalid_input"),
        ({"timezone": "Mars/Base"}, 400, "invalid_input"),
        ({"provider": "pigeon"}, 400, "invalid_input"),
        ({"password": 31337}, 400, "invalid_input"),
        ({"password": ""}, 400, "invalid_input"),
        ({"port": 1}, 502, "mail_server_unreachable"),
    ],
)
def test_what_cannot_be_connected_is_refused_with_its_reason(owner, mails, sql, change, status, code) -> None:
    refusal = owner().post("/api/connections", {**mails.params, **change})
    assert (refusal.status_code, refusal.json["code"]) == (status, code)
    assert "31337" not in refusal.text
    assert "wrong-one" not in refusal.text
    assert sql("SELECT * FROM connections") == []


def test_all_that_is_wrong_is_told_field_by_field(owner, mails) -> None:
    params = {**mails.params, "port": 0, "currency": "ZZZ", "colour": "red", "password": "\n"}
    del params["user"]
    fields = owner().post("/api/connections", params).json["fields"]
    assert fields.keys() == {"port", "currency", "colour", "password", "user"}
    assert fields["user"] == "'user' is missing"
    assert fields["colour"] == "Unknown field 'colour'"
    assert "\n" not in fields["password"]


def test_private_hosts_are_refused_unless_they_are_allowed(owner, mails) -> None:
    caller = owner(ALLOW_PRIVATE_HOSTS=False)
    refusal = caller.post("/api/connections", {**mails.params, "tls": "tls", "port": 993})
    assert (refusal.status_code, refusal.json["code"]) == (400, "forbidden_host")
    assert caller.post("/api/connections", {**mails.params, "tls": "tls"}).json["code"] == "invalid_input"


def test_a_test_that_is_refused_says_so_and_marks_the_connection(owner, mails, sql) -> None:
    caller = owner()
    made = caller.post("/api/connections", mails.params).json["connection_id"]
    mails.stop()
    mails.password = "changed-meanwhile"
    mails.start()
    assert caller.post(f"/api/connections/{made}/test").json["code"] == "login_refused"
    (row,) = caller.get("/api/connections").json["connections"]
    assert row["status"] == "needs_reconnect"
    assert "refuses the log-in" in row["last_error"]


def test_control_characters_are_refused_with_a_sentence(owner, mails) -> None:
    caller = owner()
    for field, letter in itertools.product(
        ("user", "password", "folder", "host"), ("\r", "\n", "\0", "\x7f", "\x85", "\u2028")
    ):
        wrong = json.dumps({**mails.params, field: f"a{letter}b"}).encode()
        refusal = caller.post("/api/connections", wrong, headers={"Content-Type": "application/json"})
        assert (refusal.status_code, refusal.json["code"]) == (400, "invalid_input"), (field, letter)
        assert "control character" in refusal.json["error"], (field, letter)


def test_the_password_is_in_no_row_and_no_answer(owner, mails, sql) -> None:
    caller = owner()
    answers = [caller.post("/api/connections", mails.params).text, caller.get("/api/connections").text]
    tables = sql("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")
    dump = [sql(f"SELECT t::text AS row FROM {table['name']} t") for table in tables]
    assert mails.password not in json.dumps([answers, dump], default=str)


def test_reencrypt_leaves_the_older_keys_without_use(owner, mails, sql, command, settings, connecting) -> None:
    owner().post("/api/connections", mails.params)
    (old,) = connecting["CONNECTION_KEYS"]
    new = "A" * 43 + "="
    done = command("connections", "reencrypt", CONNECTION_KEYS=f"{new},{old}")
    assert done.returncode == 0
    assert done.stdout.endswith("1 secrets are encrypted with the newest key; the older keys can be removed\n")
    (row,) = sql("SELECT business_id, secret FROM connections")
    vault = Vault(changed(settings, CONNECTION_KEYS=(new,)))
    assert vault.open(row["business_id"], row["secret"]) == {"password": mails.password}
    assert command("connections", "reencrypt", CONNECTION_KEYS=old).returncode == 1
