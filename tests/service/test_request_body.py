"""What is too large, of the wrong type or not there, and that nothing of ours leaks out."""

import json
import time
from datetime import date, datetime
from decimal import Decimal

import pytest
from cryptography.fernet import Fernet
from pydantic import ValidationError, create_model
from structlog.testing import capture_logs

from actors.runtime.jobs.params import Params, sentences
from service.credentials import session_id
from service.job_rows import KINDS
from service.json_handler import _decode
from service.request_body import MAX_BODY_BYTES

START = "/api/receipts/delete_all"


@pytest.mark.parametrize("body", ["{", '{"confirm": "DELETE"', "\xff", "DELETE"])
def test_a_body_that_is_not_json_is_a_400(body, api, make) -> None:
    answer = api(make.business()).post(START, body.encode("latin-1"), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json["code"]) == (400, "invalid_input")


FIELDS = ",".join(f'"{n}":0' for n in range(6000))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (START, f"{{{FIELDS}}}"),
        ("/api/jobs", f'{{"job_type": "export_receipts", "params": {{{FIELDS}}}}}'),
    ],
)
def test_a_body_of_many_fields_takes_no_time(path, body, api, make) -> None:
    member = api(make.business(), "member")
    member.post(path, {})  # the first call of an application takes longer
    took = []
    for _ in range(20):
        began = time.thread_time()
        answer = member.post(path, body.encode(), headers={"Content-Type": "application/json"})
        took.append(time.thread_time() - began)
        assert answer.status_code == 400
        assert "6000 fields, expected at most 100" in answer.json["error"]
    assert min(took) < 0.02  # any but the fastest may have collected the garbage of other tests


def test_thousands_of_parameters_are_not_looked_at(api) -> None:
    query = "&".join(f"p{n}=1" for n in range(1000))
    answer = api().get(f"/api/session?{query}")
    assert (answer.status_code, answer.json["error"]) == (400, "Found 1000 parameters, expected at most 100")


@pytest.mark.parametrize(
    ("cookies", "found"),
    [
        ("s=1", "1"),
        ("a=b;s=1 ;s=2", "1"),
        ("as=1; s=a=b", "a=b"),
        ("s=", None),
        ("s =1; S=1; as=1; s", None),
        ("", None),
        ("a=b s=1", None),
    ],
)
def test_the_session_is_the_first_cookie_of_its_name(cookies, found) -> None:
    assert session_id(cookies, "s") == found


@pytest.mark.parametrize("others", ["a;", "a=b; ", "; ", " ", "s", "s;"])
def test_thousands_of_other_cookies_take_no_time(others) -> None:
    cookies = others * (32_000 // len(others))
    began = time.thread_time()
    for _ in range(20):
        session_id(cookies, "s")
    assert time.thread_time() - began < 0.2


@pytest.mark.parametrize(
    "body", ['{"confirm": "DELETE", "confirm": "DELETE"}', '{"confirm": NaN}', '{"confirm": "no", "confirm": "DELETE"}']
)
def test_a_body_with_a_key_twice_or_what_is_no_json_is_a_400(body, api, make, sql) -> None:
    answer = api(make.business()).post(START, body.encode(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json["code"]) == (400, "invalid_input")
    assert sql("SELECT FROM background_jobs") == []


def test_each_request_is_a_line_with_an_id_that_its_answer_carries(api, make, caplog) -> None:
    with capture_logs() as lines:
        owner = api(make.business())
        asked = owner.get("/api/jobs", headers={"X-Request-Id": "mine-1"})
        bad = owner.get("/api/jobs", headers={"X-Request-Id": "no good\u00e9"})
        api().get("/api/jobs")
        owner.get("/api/nowhere")
        owner.get("/healthz")
    told = [line for line in lines if line["event"] == "http.request"]
    assert [(line["status"], line["log_level"]) for line in told] == [
        (200, "info"),
        (200, "info"),
        (401, "warning"),
        (404, "info"),
    ]
    assert asked.headers["x-request-id"] == told[0]["request_id"] == "mine-1"
    assert bad.headers["x-request-id"] == told[1]["request_id"] != "no good\u00e9"
    assert told[0]["route"] == "/api/jobs"
    assert told[0]["actor"] == "user:7"
    assert told[0]["token"] > 0


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_a_413_even_when_it_does_not_tell_its_length(chunked, api, make, sql) -> None:
    body = json.dumps({"confirm": "DELETE", "x": "y" * MAX_BODY_BYTES}).encode()
    headers = {"Content-Type": "application/json"} | ({"Transfer-Encoding": "chunked"} if chunked else {})
    answer = api(make.business()).post(START, body, headers=headers, extras={"CONTENT_LENGTH": ""} if chunked else {})
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")
    assert sql("SELECT FROM background_jobs") == []


def test_a_small_body_without_a_length_is_read(api, make) -> None:
    headers = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    answer = api(make.business()).post(START, b'{"confirm": "DELETE"}', headers=headers, extras={"CONTENT_LENGTH": ""})
    assert answer.status_code == 202


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_of_another_type_is_a_415(content_type, api, make) -> None:
    answer = api(make.business()).post(START, b'{"confirm": "DELETE"}', headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json["code"]) == (415, "unsupported_media_type")


def test_size_comes_before_type_and_type_before_content(api, make) -> None:
    caller = api(make.business(), "member")
    large = caller.post(START, b"x" * (MAX_BODY_BYTES + 1), headers={"Content-Type": "text/plain"})
    typed = caller.post(START, b"x", headers={"Content-Type": "text/plain"})
    wrong = caller.post(START, {"confirm": "no"})
    right = caller.post(START, {"confirm": "DELETE"})
    assert [answer.status_code for answer in (large, typed, wrong, right)] == [413, 415, 400, 403]


@pytest.mark.parametrize("body", ["[" * 60_000, '{"a":' * 12_000])
def test_a_body_that_is_nested_without_end_is_a_400(body, api, make) -> None:
    answer = api(make.business()).post(START, body.encode(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json["code"]) == (400, "invalid_input")


@pytest.mark.parametrize("depth", [19, 20, 500, 30_000])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (START, '{"confirm": %s}'),
        ("/api/jobs", '{"job_type": "export_receipts", "params": {"format": %s}}'),
        ("/api/jobs", '{"job_type": "restore_receipts", "params": {"delete_job_id": %s}}'),
        ("/api/jobs", '{"job_type": %s}'),
        ("/api/connections", '{"port": %s}'),
        ("/api/session", '{"token": %s}'),
    ],
)
def test_values_within_values_are_a_400_however_deep_they_are(path, body, depth, api, make) -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        deep = body % (opening * depth + "1" + closing * depth)
        caller = api(make.business(), "owner", CONNECTION_KEYS=(Fernet.generate_key().decode(),))
        answer = caller.post(path, deep.encode(), headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 413), answer.json


CONNECTION = {"provider": "imap", "host": "a.example", "port": 993, "user": "u", "password": "p"}
STARTS = [{"job_type": kind, "params": {name: "\ud800"}} for kind in KINDS for name in KINDS[kind].params.model_fields]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (START, {"confirm": "\udfff"}),
        ("/api/jobs", {"job_type": "\ud800"}),
        ("/api/jobs", {"\ud800": 1}),
        ("/api/receipts/sync", {"from_date": "\ud800"}),
        ("/api/receipts/sync", {"fromDate": "2025-01-01\udc00"}),
        ("/api/session", {"token": "lh_1_\ud800"}),
        *[
            ("/api/connections", {**CONNECTION, name: "a\ud83d"})
            for name in (*CONNECTION, "folder", "currency", "timezone")
        ],
        *[("/api/jobs", body) for body in STARTS],
    ],
)
def test_half_a_character_is_a_400_wherever_it_is(path, body, api, make) -> None:
    """JSON can write one half of a pair; Postgres can't store it, and no sentence about it could be sent."""
    caller = api(make.business(), "owner", CONNECTION_KEYS=(Fernet.generate_key().decode(),))
    answer = caller.post(path, json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json["code"]) == (400, "invalid_input")


@pytest.mark.parametrize("text", ['"\\ud83d\\ude00"', '"\\\\ud83d"', '"\\uD83D\\uDE00"', '"😀"'])
def test_a_whole_character_is_read_however_it_is_written(text) -> None:
    assert _decode(f'{{"a": [{text}]}}') == {"a": [json.loads(text)]}


@pytest.mark.parametrize("text", ['"\\ud83d"', '"\\ude00\\ud83d"', '"\\uD83Dx"', '{"\\udfff": 1}', '[["\\uDBff"]]'])
def test_half_a_character_is_told_apart(text) -> None:
    with pytest.raises(ValueError, match="half a character"):
        _decode(f'{{"a": {text}}}')


@pytest.mark.parametrize("name", ["day", "moment", "number", "amount"])
def test_what_is_wrong_with_a_param_can_be_told_whatever_it_holds(name) -> None:
    """A shell's arguments may hold bytes that are no text."""
    fields = {"day": date, "moment": datetime, "number": int, "amount": Decimal}
    model = create_model("Those", __base__=Params, **{one: (kind, ...) for one, kind in fields.items()})
    with pytest.raises(ValidationError) as refusal:
        model.model_validate({name: "\udcff"})
    assert "\\udcff" in sentences(refusal.value)[name]


def test_brackets_in_a_text_are_no_depth(api, make) -> None:
    body = {"job_type": "export_receipts", "params": {"format": '["' * 200 + "\\" + '{"' * 200}}
    answer = api(make.business()).post("/api/jobs", body)
    assert "nested" not in answer.json["error"]
    assert "format" in answer.json["fields"]


def test_a_verb_with_a_malformed_body_or_a_query_is_a_400_and_does_nothing(api, make, job_row) -> None:
    business_id = make.business()
    caller, job_id = api(business_id), make.job(business_id)
    json_type = {"Content-Type": "application/json"}
    answers = [
        caller.post(f"/api/jobs/{job_id}/cancel", b"{bad", headers=json_type),
        caller.post(f"/api/jobs/{job_id}/cancel", query_string="now=1"),
    ]
    assert [answer.status_code for answer in answers] == [400, 400]
    assert job_row(job_id)["status"] == "queued"
    assert caller.post(f"/api/jobs/{job_id}/cancel", {}).status_code == 200


def test_an_address_that_is_not_there_is_a_404_and_a_wrong_method_a_405(api, make) -> None:
    caller = api(make.business())
    assert caller.get("/api/nothing").json["code"] == "not_found"
    answer = caller.get(START)
    assert (answer.status_code, answer.json["code"]) == (405, "method_not_allowed")
    assert "POST" in answer.headers["allow"]


def test_an_error_of_ours_is_a_500_without_a_trace(api, make, monkeypatch) -> None:
    import service.jobs

    def broken(*_arguments):
        raise RuntimeError("hunter2 in a local variable")

    caller = api(make.business())
    monkeypatch.setattr(service.jobs, "paginate", broken)
    answer = caller.get("/api/jobs")
    assert answer.status_code == 500
    assert answer.json == {"success": False, "error": "Something went wrong on our side", "code": "internal_error"}


def test_a_database_that_is_away_is_a_503(api, make) -> None:
    answer = api(make.business(), DATABASE_URL="postgresql://127.0.0.1:1/none").get("/api/jobs")
    assert (answer.status_code, answer.json["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "5"
