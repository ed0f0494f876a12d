"""What a credential is found to be, and how long a poll may rely on it."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import event

from service.credentials import Credential, hash_of
from service.look_ups import Lately, LookUps


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """clock.now: seconds, which only a test moves on."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("service.look_ups.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def looks(engine: Any) -> Iterator[list[int]]:
    """How many credentials each look-up asked for."""
    asked: list[int] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if "t.token_sha256 AS hash" in statement:
            asked.append(len(parameters["hashes"]))

    event.listen(engine, "before_cursor_execute", note)
    yield asked
    event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
def tokens(make: Any, sql: Any) -> list[Credential]:
    """Ten that were used a moment ago."""
    business_id = make.business()
    tokens = [Credential(hash_of(make.token(business_id)), is_session=False) for _ in range(10)]
    sql("UPDATE api_tokens SET last_used_at = now()")
    return tokens


def test_one_look_up_a_second_is_enough_for_all_who_poll(engine, tokens, clock, looks) -> None:
    look_ups = LookUps(engine)
    for _ in range(4):
        for token in tokens:
            assert look_ups.find(token, is_poll=True) is not None
        clock.now += Lately.SECONDS
    assert looks == [1] * 10 + [10] * 3


def test_a_poll_relies_on_nothing_older_than_a_second(engine, tokens, clock, sql) -> None:
    look_ups = LookUps(engine)
    for token in tokens:
        look_ups.find(token, is_poll=True)
    sql("UPDATE api_tokens SET revoked_at = now()")
    clock.now += 0.99
    assert look_ups.find(tokens[0], is_poll=True) is not None
    assert look_ups.find(tokens[0]) is None  # what is no poll relies on nothing; nor does a poll after it
    assert [look_ups.find(token, is_poll=True) for token in tokens] == [None] * 10


def test_what_is_not_used_any_more_is_not_looked_up_again(engine, tokens, clock, looks) -> None:
    look_ups = LookUps(engine)
    for token in tokens:
        look_ups.find(token, is_poll=True)
    clock.now += Lately.IN_USE_SECONDS
    look_ups.find(tokens[0], is_poll=True)
    assert looks == [1] * 11


def test_only_so_many_are_looked_up_again_at_once(engine, tokens, clock, looks, monkeypatch) -> None:
    monkeypatch.setattr(Lately, "MOST", 4)
    look_ups = LookUps(engine)
    for _ in range(2):
        for token in tokens:
            assert look_ups.find(token, is_poll=True) is not None
        clock.now += Lately.SECONDS
    assert looks[10:] == [4] + [1] * 6


def test_the_last_use_of_a_token_is_noted_once_a_minute_where_it_is_polled_too(engine, tokens, clock, sql) -> None:
    look_ups = LookUps(engine)
    for token in tokens:
        look_ups.find(token, is_poll=True)
    sql("UPDATE api_tokens SET last_used_at = now() - interval '2 minutes'")
    clock.now += Lately.SECONDS
    for token in tokens:
        look_ups.find(token, is_poll=True)
    assert sql("SELECT count(*) FROM api_tokens WHERE last_used_at > now() - interval '1 minute'") == [{"count": 10}]
