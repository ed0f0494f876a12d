"""A request that is refused leaves nothing behind."""

import gc
import json
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import falcon
import pytest
from pydantic import BeforeValidator, create_model

from actors.runtime.jobs.params import Params, sentence, sentences

LONG = "x" * 500
BODIES: dict[str, tuple[str, Any]] = {
    "a token that is no text": ("/api/session", {"token": [{}] * 50}),
    "a token that is empty": ("/api/session", {"token": ""}),
    "an unknown field": ("/api/session", {LONG: 1}),
    "a password that is no text": ("/api/connections", {"provider": "imap", "password": [{}] * 5_000}),
    "a host with a control character": (
        "/api/connections",
        {"provider": "imap", "host": "a\x00b", "port": 993, "user": "u", "password": "p"},
    ),
    "a currency that is none": (
        "/api/connections",
        {"provider": "imap", "host": "a.example", "port": 993, "user": "u", "password": "p", "currency": LONG},
    ),
    "a timezone that is none": (
        "/api/connections",
        {"provider": "imap", "host": "a.example", "port": 993, "user": "u", "password": "p", "timezone": LONG},
    ),
    "days in the wrong order": (
        "/api/jobs",
        {"job_type": "export_receipts", "params": {"from_date": "2025-02-01", "to_date": "2025-01-01"}},
    ),
    "days of the wrong mode": ("/api/jobs", {"job_type": "sync_receipts", "params": {"from_date": "2025-02-01"}}),
    "what is no job": ("/api/jobs", {"job_type": LONG}),
    "what is no object": ("/api/jobs", [{}] * 50),
}
QUERIES = ["limit=1_0", "after=x", f"job_type={LONG}", "from_date=2025-13-01", f"from_date={LONG}", f"{LONG}=1"]


@pytest.fixture(scope="module")
def requests_kept() -> Iterator[Callable[[], int]]:
    """requests_kept(): how many of those since its last call are still in memory."""

    def count() -> int:
        gc.collect()
        kept = sum(type(one) is falcon.Request for one in gc.get_objects())
        gc.freeze()  # all that is there by now is not looked at again: that would take most of a second each time
        return kept

    yield count
    gc.unfreeze()


@pytest.mark.parametrize("sort", BODIES)
def test_a_body_that_is_refused_is_not_kept_in_memory(sort, api, make, requests_kept) -> None:
    path, body = BODIES[sort]
    caller = api(make.business())
    for _ in range(2):  # what is made once
        assert caller.post(path, body).status_code == 400
    requests_kept()
    for _ in range(10):
        caller.post(path, body)
    assert requests_kept() == 0


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_that_is_refused_is_not_kept_in_memory(query, api, make, requests_kept) -> None:
    caller = api(make.business())
    for _ in range(2):
        assert caller.get(f"/api/jobs?{query}").status_code == 400
    requests_kept()
    for _ in range(10):
        caller.get(f"/api/jobs?{query}")
    assert requests_kept() == 0


def chained(value: Any) -> Any:
    """Raises while it handles another error, and that one another."""
    try:
        try:
            return int(value) // 0
        except ZeroDivisionError:
            raise KeyError(value)  # noqa: B904
    except KeyError:
        raise ValueError("expected a small number")  # noqa: B904


def caused(_value: Any) -> Any:
    """Names another error as the cause."""
    try:
        int("x")
    except ValueError as error:
        cause = error
    raise ValueError("expected a small number") from cause


class Held:
    """What a caller has in hand."""


@pytest.mark.parametrize("tell", [sentence, sentences])
@pytest.mark.parametrize("validator", [chained, caused])
def test_no_validator_of_a_kind_can_keep_what_its_caller_has_in_hand(validator, tell) -> None:
    model = create_model("Numbers", __base__=Params, number=(Annotated[int, BeforeValidator(validator)], ...))

    def call() -> None:
        held = Held()
        try:
            model.model_validate({"number": 7})
        except Exception as error:
            kept = error
            assert "expected a small number" in json.dumps(tell(kept))
        assert held

    for _ in range(5):
        call()
    gc.collect()
    assert not any(type(one) is Held for one in gc.get_objects())


def test_who_signs_in_sends_no_more_than_a_token_needs(api) -> None:
    answer = api().post("/api/session", {"token": "x" * 1_024})
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")
