"""Idempotency-Key: the same start, sent again, is one job and one answer."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

JOBS = "/api/jobs"
BODY = {"job_type": "delete_receipts", "confirm": "DELETE"}


def keyed(key: str) -> dict[str, dict[str, str]]:
    return {"headers": {"Idempotency-Key": key}}


def test_the_same_start_again_gets_the_same_answer_and_starts_nothing(api, make, sql) -> None:
    business_id = make.business()
    caller = api(business_id)
    first = caller.post(JOBS, BODY, **keyed("a"))
    sql("UPDATE background_jobs SET status = 'cancelled', finished_at = now()")
    again = caller.post(JOBS, {"params": {}, **BODY}, **keyed("a"))  # written otherwise, understood the same
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json == first.json
    assert again.headers["location"] == first.headers["location"]
    assert (first.headers.get("idempotent-replayed"), again.headers.get("idempotent-replayed")) == (None, "true")
    assert sql("SELECT count(*) AS n FROM background_jobs") == [{"n": 1}]


def test_another_request_under_the_same_key_is_a_422(api, make) -> None:
    caller = api(make.business(), COOLDOWN_SECONDS=0)
    assert caller.post(JOBS, BODY, **keyed("a")).status_code == 202
    answer = caller.post(JOBS, {"job_type": "delete_receipts", "confirm": "DELETE", "params": {}}, **keyed("a"))
    assert answer.status_code == 202
    other = caller.post(JOBS, {"job_type": "export_receipts"}, **keyed("a"))
    assert (other.status_code, other.json["code"]) == (422, "idempotency_mismatch")


def test_a_key_is_of_one_business_one_token_and_one_address(api, make, sql) -> None:
    one, two = make.business(), make.business()
    caller = api(one)
    assert caller.post(JOBS, BODY, **keyed("a")).status_code == 202
    assert api(two).post(JOBS, BODY, **keyed("a")).status_code == 202
    assert api(one).post(JOBS, BODY, **keyed("a")).json["code"] == "job_active"
    delete_all = caller.post("/api/receipts/delete_all", {"confirm": "DELETE"}, **keyed("a"))
    assert delete_all.json["code"] == "job_active"
    assert sql("SELECT count(*) AS n FROM background_jobs") == [{"n": 2}]


def test_a_refusal_leaves_the_key_free(api, make, sql) -> None:
    business_id = make.business()
    active = make.job(business_id)
    caller = api(business_id)
    assert caller.post(JOBS, BODY, **keyed("a")).status_code == 409
    sql("SELECT cancel_job(:id, 'dana')", id=active)
    answer = caller.post(JOBS, BODY, **keyed("a"))
    assert answer.status_code == 202
    assert "idempotent-replayed" not in answer.headers


def test_after_a_day_a_key_is_free_again(api, make, sql) -> None:
    caller = api(make.business())
    first = caller.post(JOBS, BODY, **keyed("a"))
    sql("SELECT cancel_job(:id, 'dana')", id=first.json["job_id"])
    sql("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    second = caller.post(JOBS, BODY, **keyed("a"))
    assert (second.status_code, second.json["job_id"] != first.json["job_id"]) == (202, True)


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
def test_a_key_that_is_none_is_a_400(key, api, make, sql) -> None:
    answer = api(make.business()).post(JOBS, BODY, **keyed(key))
    assert (answer.status_code, "Idempotency-Key" in answer.json["error"]) == (400, True)
    assert sql("SELECT FROM background_jobs") == []


def test_twenty_at_once_are_one_job_and_one_answer(api, make, sql) -> None:
    caller = api(make.business())
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: caller.post(JOBS, BODY, **keyed("a")), range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert {answer.json["job_id"] for answer in answers} == {answers[0].json["job_id"]}
    assert sql("SELECT count(*) AS n FROM background_jobs") == [{"n": 1}]


def test_a_second_one_does_not_wait_for_ever_for_the_first(api, make, engine, sql) -> None:
    business_id = make.business()
    caller = api(business_id)
    caller.post(JOBS, BODY, **keyed("first"))
    (row,) = sql("SELECT token_id FROM idempotency_keys")
    with engine.connect() as somebody, somebody.begin():
        somebody.execute(
            text("""INSERT INTO idempotency_keys (business_id, token_id, address, key, request_sha256)
                    VALUES (:business_id, :token_id, '/api/jobs', 'a', '')"""),
            {"business_id": business_id, **row},
        )
        answer = caller.post(JOBS, BODY, **keyed("a"))
    assert (answer.status_code, answer.json["code"]) == (409, "idempotency_in_progress")
    assert answer.headers["retry-after"] == "1"
