"""One business's slow requests hold up neither others nor the platform's question whether the process lives."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text
from waitress.adjustments import Adjustments

from service.credentials import Credential, KnownCredentials, Owner, hash_of
from service.local.client import Client
from service.local.processes import wait_until
from service.request_head import Parser
from service.turns import CROWD, Turns


class Held:
    """A request in the server's hands that lasts until it is let go."""

    def __init__(self, token: str = "", path: str = "/api/jobs", error: object = None, command: str = "GET") -> None:
        headers = {"AUTHORIZATION": f"Bearer {token}"} if token else {}
        self.request = SimpleNamespace(
            error=error,
            path=path,
            headers=headers,
            command=command,
            is_too_many=False,
            was_looked_up=False,
            looked_up=None,
        )
        self.requests = [self.request]
        self.begun, self.let_go, self.cancelled = Event(), Event(), Event()

    def service(self) -> None:
        self.begun.set()
        self.let_go.wait(100)

    def cancel(self) -> None:
        self.cancelled.set()


@pytest.fixture
def known() -> KnownCredentials:
    return KnownCredentials()


@pytest.fixture
def turns(known: KnownCredentials, monkeypatch: pytest.MonkeyPatch) -> Any:
    for token_id, token in enumerate("abc"):
        known.add(hash_of(token), Owner(token_id, business_id=token_id))
    known.add(hash_of("another of a"), Owner(10, business_id=0))
    for token_id, token in enumerate(("operator", "another operator"), 20):
        known.add(hash_of(token), Owner(token_id, business_id=None))
    monkeypatch.setattr("service.turns.known_credentials", known)
    with ExitStack() as defer:
        made: list[Held] = []
        turns = Turns(4, most_in_flight=3, cookie="session")

        def add(held: Held) -> Held:
            made.append(held)
            turns.add_task(held)
            return held

        defer.callback(turns.shutdown, timeout=2)
        defer.callback(lambda: [held.let_go.set() for held in made])
        yield add


def test_a_token_holds_at_most_half_of_the_threads_and_others_overtake_the_rest(turns) -> None:
    mine = [turns(Held("a")) for _ in range(3)]
    wait_until(lambda: mine[0].begun.is_set() and mine[1].begun.is_set(), 30, "half of the threads")
    other = turns(Held("b"))
    assert other.begun.wait(30)
    assert not mine[2].begun.is_set()
    mine[0].let_go.set()
    assert mine[2].begun.wait(30)


def test_all_tokens_of_a_business_share_one_share_and_each_operators_has_its_own(turns) -> None:
    mine = [turns(Held(token)) for token in ("a", "another of a", "a", "another of a")]
    wait_until(lambda: sum(held.begun.is_set() for held in mine) == 2, 30, "half of the threads")
    assert turns(Held("operator")).begun.wait(30)
    assert turns(Held("another operator")).begun.wait(30)
    assert sum(held.begun.is_set() for held in mine) == 2


def test_a_thread_that_is_free_again_goes_to_who_has_the_fewest(turns) -> None:
    mine, others = [turns(Held("a")) for _ in range(2)], [turns(Held("b")) for _ in range(2)]
    assert all(held.begun.wait(30) for held in mine + others)
    again, newcomer = turns(Held("a")), turns(Held("c"))
    mine[0].let_go.set()
    assert newcomer.begun.wait(30)
    assert not again.begun.is_set()
    others[0].let_go.set()
    assert again.begun.wait(30)


def test_none_of_many_at_once_is_forgotten(turns) -> None:
    sorts = (
        *({"token": token} for token in ("a", "b", "another of a", "operator", "made up")),
        *({"path": path} for path in ("/healthz", "/readyz", "/api/jobs")),
        {"path": "/api/session", "command": "POST"},
    )

    def add(number: int) -> list[Held]:
        held = [Held(**sorts[(number + n) % len(sorts)]) for n in range(300)]
        for one in held:
            one.let_go.set()
            turns(one)
        return held

    with ThreadPoolExecutor(6) as pool:
        every = [one for held in pool.map(add, range(6)) for one in held]
    assert all(one.begun.wait(30) for one in every)


def test_made_up_tokens_share_one_share(turns) -> None:
    made_up = [turns(Held(f"made up {n}")) for n in range(5)]
    wait_until(lambda: sum(held.begun.is_set() for held in made_up) == 2, 30, "half of the threads")
    assert turns(Held("a")).begun.wait(30)
    assert turns(Held(path="/readyz")).begun.wait(30)
    assert sum(held.begun.is_set() for held in made_up) == 2


def test_credentials_that_are_new_here_take_the_turns_of_their_business(turns, known) -> None:
    def look_up(shown: set[Credential]) -> dict[Credential, Owner]:
        if any(one.hashed == hash_of("away") for one in shown):
            raise OSError("Postgres is away")
        valid = [one for one in shown if one.hashed in new]
        for one in valid:
            known.add(one.hashed, Owner(len(looked_up), business_id=0))
            looked_up.append(one.hashed)
        return {one: known.owner_of(one.hashed) for one in valid}

    new, looked_up = {hash_of(f"new {n}") for n in (*range(6), "page")}, []
    known.look_up = look_up
    mine = [turns(Held(f"new {n}")) for n in range(6)]
    wait_until(lambda: sum(held.begun.is_set() for held in mine) == 2, 30, "half of the threads")
    wait_until(lambda: len(looked_up) == 6, 30, "all to be looked up")
    others = [turns(Held("b")), turns(Held("away"))]
    assert all(held.begun.wait(30) for held in others)
    assert sum(held.begun.is_set() for held in mine) == 2
    for held in [*mine, *others]:
        held.let_go.set()
    assert all(held.begun.wait(30) for held in mine)
    assert len(looked_up) == 6
    assert turns(Held("new page", path="/assets/main.js")).begun.wait(30)
    assert len(looked_up) == 6
    assert turns(Held("made up")).begun.wait(30)


@pytest.mark.parametrize("path", ["/api/jobs", "//api/jobs", "///api/jobs", "/%2fapi/jobs", "http://x//api/jobs"])
def test_a_path_is_the_same_to_turns_as_to_the_application(path, known) -> None:
    """Or a credential that is new here would not be looked up, and its business get more than its share."""
    request = Parser(Adjustments())
    request.received(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer new\r\n\r\n".encode())
    assert (request.error, request.path) == (None, "/api/jobs")


def test_who_signs_in_does_not_wait_for_others_without_a_token(turns) -> None:
    flood = [turns(Held("made up")) for _ in range(3)]
    wait_until(lambda: sum(held.begun.is_set() for held in flood) == 2, 30, "half of the threads")
    assert turns(Held(path="/api/session", command="POST")).begun.wait(30)
    assert not flood[2].begun.is_set()


@pytest.mark.parametrize("path", ["/", "/api/jobs", "/api/session"])
def test_in_a_crowd_the_newest_and_the_oldest_take_turns(path, turns) -> None:
    first = [turns(Held(path=path, command="POST")) for _ in range(2)]
    wait_until(lambda: all(held.begun.is_set() for held in first), 30, "half of the threads")
    crowd = [turns(Held(path=path, command="POST")) for _ in range(CROWD + 3)]
    if path != "/api/session":
        first.pop().let_go.set()  # of those, only one at a time is served
    served = first[:1]
    for expected in (crowd[-1], crowd[0], crowd[-2], crowd[1]):  # and then it is no crowd any more
        served[-1].let_go.set()
        assert expected.begun.wait(30)
        served.append(expected)
    served[-1].let_go.set()
    assert crowd[2].begun.wait(30)


def test_who_came_first_of_many_is_served_though_others_keep_coming(turns) -> None:
    served = [turns(Held()) for _ in range(2)]
    assert all(held.begun.wait(30) for held in served)
    first, *others = [turns(Held()) for _ in range(CROWD + 1)]
    served.pop().let_go.set()
    for _ in range(2):
        newest = turns(Held())
        served.pop().let_go.set()
        wait_until(lambda: newest.begun.is_set() or first.begun.is_set(), 30, "the next")  # noqa: B023
        served.append(newest)
    assert first.begun.is_set()
    assert not any(held.begun.is_set() for held in others)


@pytest.mark.parametrize("path", ["/", "/api/jobs"])
def test_of_a_crowd_without_a_valid_token_one_at_a_time_is_served(path, turns) -> None:
    """Answered faster, a flood would come back faster, and fill the event loop."""

    def served() -> list[Held]:
        return [held for held in crowd if held.begun.is_set() and not held.let_go.is_set()]

    crowd = [turns(Held(path=path)) for _ in range(CROWD + 9)]
    wait_until(served, 30, "the first")
    for _ in range(4):
        for held in served():
            held.let_go.set()
        wait_until(served, 30, "the next")
        another = turns(Held("a"))
        assert another.begun.wait(30)  # so one of the crowd would have begun too
        another.let_go.set()
        assert len(served()) == 1


@pytest.mark.parametrize("token", ["", "made up", "a"])
def test_no_crowd_without_a_turn_of_its_own_keeps_a_visitor_waiting(token, turns, known) -> None:
    known.look_up = lambda _shown: {}
    crowd = [turns(Held(token)) for _ in range(3 * CROWD)]
    wait_until(lambda: any(held.begun.is_set() for held in crowd), 30, "the first")
    for held in crowd:  # of those, two may have begun before it was a crowd, beside the two of the business
        if held.request.is_too_many and held.begun.is_set():
            held.let_go.set()
    for visitor in (Held(path="/"), Held("ended", "/api/session"), *([Held()] if token == "a" else [])):
        assert turns(visitor).begun.wait(30)
        visitor.let_go.set()


def test_a_lone_request_goes_before_a_crowd_whose_oldest_has_waited_longer(turns) -> None:
    held = [turns(Held(token)) for token in ("a", "a", "b")]
    assert all(one.begun.wait(30) for one in held)
    crowd = [turns(Held()) for _ in range(2 * CROWD)]
    wait_until(lambda: any(one.begun.is_set() for one in crowd), 30, "the first of the crowd")
    lone = turns(Held("c"))
    next(one for one in crowd if one.begun.is_set()).let_go.set()
    assert lone.begun.wait(30)
    assert sum(one.begun.is_set() for one in crowd) == 1


OF_EVERY_SORT: dict[str, dict[str, str]] = {
    "made-up tokens": {"token": "made up"},
    "new tokens": {"token": "new"},
    "visitors": {"path": "/"},
    "visitors' sessions": {"path": "/api/session"},
    "who signs in": {"path": "/api/session", "command": "POST"},
    "nobody": {},
    "too much of a token": {"token": "a"},
    "an operator": {"token": "operator"},
    "health checks": {"path": "/healthz"},
    "questions for Postgres": {"path": "/readyz"},
}


@pytest.mark.parametrize("sort", OF_EVERY_SORT)
def test_however_many_wait_they_are_served_though_the_others_always_come_back(sort, turns, known) -> None:
    def look_up(shown: set[Credential]) -> dict[Credential, Owner]:
        valid = [one for one in shown if one.hashed == hash_of("new")]
        for one in valid:
            known.add(one.hashed, Owner(50, business_id=50))
        return {one: known.owner_of(one.hashed) for one in valid}

    def ask_again(token: str) -> None:
        held = Held(token)
        held.let_go.set()
        held.service = lambda: None if is_over.is_set() else ask_again(token)
        turns(held)

    is_over = Event()
    known.look_up = look_up
    for number in range(100, 112):
        known.add(hash_of(f"busy {number}"), Owner(number, business_id=number))
        ask_again(f"busy {number}")
    try:
        many = [Held(**OF_EVERY_SORT[sort]) for _ in range(2 * CROWD)]
        for held in many:
            held.let_go.set()
            turns(held)
        assert all(held.begun.wait(30) for held in many)
    finally:
        is_over.set()


def test_when_a_crowd_has_shrunk_more_of_them_are_served(turns) -> None:
    crowd = [turns(Held()) for _ in range(CROWD + 6)]
    for _ in range(8):
        wait_until(lambda: any(one.begun.is_set() and not one.let_go.is_set() for one in crowd), 30, "the next")
        running = [one for one in crowd if one.begun.is_set() and not one.let_go.is_set()]
        if len(crowd) - sum(one.begun.is_set() for one in crowd) <= CROWD:
            break
        running[0].let_go.set()
    wait_until(lambda: sum(one.begun.is_set() and not one.let_go.is_set() for one in crowd) == 2, 30, "two of them")


def test_who_signs_out_with_made_up_cookies_delays_nobody_on_the_page(turns, known) -> None:
    known.look_up = lambda _shown: {}
    crowd = [turns(Held("made up", "/api/session", command="DELETE")) for _ in range(3 * CROWD)]
    wait_until(lambda: any(one.begun.is_set() for one in crowd), 30, "the first")
    for visitor in (Held(path="/"), Held(path="/api/session"), Held("ended", "/api/session")):
        assert turns(visitor).begun.wait(30)
        visitor.let_go.set()


def test_who_loads_the_page_or_has_a_new_token_waits_for_no_made_up_ones(turns, known) -> None:
    mine, asked = Credential(hash_of("new"), is_session=False), []

    def look_up(shown: set[Credential]) -> dict[Credential, Owner]:
        asked.append(len(shown))
        may_look.wait(30)
        known.add(mine.hashed, Owner(30, business_id=30))
        return {mine: known.owner_of(mine.hashed)} if mine in shown else {}

    may_look = Event()
    known.look_up = look_up
    flood = []
    for n in range(2):
        flood.append(turns(Held(f"made up {n}")))
        wait_until(lambda: len(asked) == len(flood), 30, "half of the threads")
    flood += [turns(Held(f"made up too {n}")) for n in range(3 * CROWD)]
    page, new = turns(Held(path="/assets/main.js")), turns(Held("new"))
    assert page.begun.wait(30)
    flood += [turns(Held(f"made up as well {n}")) for n in range(3 * CROWD)]
    may_look.set()
    assert new.begun.wait(30)
    assert asked == [1, 1, 6 * CROWD + 1]  # all the others at once
    assert sum(held.begun.is_set() for held in flood) <= 2


def test_who_signs_in_and_who_has_no_token_together_leave_a_thread_to_the_others(turns) -> None:
    flood = [turns(Held()) for _ in range(3)] + [turns(Held(path="/api/session", command="POST")) for _ in range(3)]
    wait_until(lambda: sum(held.begun.is_set() for held in flood) == 3, 30, "all but one of the threads")
    assert turns(Held("a")).begun.wait(30)
    assert sum(held.begun.is_set() for held in flood) == 3


def test_in_a_flood_a_token_that_cannot_be_looked_up_is_left_to_the_application(turns, known) -> None:
    def fail(_shown: set[Credential]) -> Any:
        raise OSError("no database")

    known.look_up = fail
    first = [turns(Held("new")) for _ in range(2)]
    wait_until(lambda: all(held.begun.is_set() for held in first), 30, "half of the threads")
    flood = [turns(Held("new")) for _ in range(CROWD + 2)]
    wait_until(lambda: all(held.request.was_looked_up for held in flood), 30, "all to be looked up")
    for held in first:
        held.let_go.set()
    wait_until(lambda: any(held.begun.is_set() for held in flood), 30, "a turn")
    assert [held.request.error for held in flood if held.begun.is_set()] == [None]


def test_a_new_credential_beyond_its_tokens_limit_is_refused(turns, known) -> None:
    all_are_here = Event()

    def look_up(shown: set[Credential]) -> dict[Credential, Owner]:
        for one in shown:
            known.add(one.hashed, Owner(0, business_id=0))
        all_are_here.wait(30)
        return {one: known.owner_of(one.hashed) for one in shown}

    known.look_up = look_up
    mine = [turns(Held(f"new {n}")) for n in range(6)]
    all_are_here.set()
    wait_until(lambda: sum(held.request.is_too_many for held in mine) == 3, 30, "those beyond three")
    for held in mine:
        held.let_go.set()  # as the application does with what is too many, and with all others in the end
    assert all(held.begun.wait(30) for held in mine)


def test_what_asks_nobody_has_a_thread_of_its_own(turns) -> None:
    for token in ("a", "a", "b", "b"):
        assert turns(Held(token)).begun.wait(30)
    assert not turns(Held("c")).begun.wait(0.2)
    assert turns(Held(path="/healthz")).begun.wait(30)


def test_no_flood_without_a_token_takes_the_threads_that_tokens_have(turns) -> None:
    floods = [[turns(Held(path=path)) for _ in range(6)] for path in ("/healthz", "/readyz", "/api/jobs")]

    def begun() -> list[int]:
        return [sum(held.begun.is_set() for held in flood) for flood in floods]

    wait_until(lambda: begun() == [2, 1, 2], 30, "the threads that each flood may take")
    assert turns(Held("a")).begun.wait(30)
    assert begun() == [2, 1, 2]


def test_whether_the_process_is_ready_is_asked_beside_all_tokens(turns) -> None:
    for token in ("a", "a", "b", "b"):
        assert turns(Held(token)).begun.wait(30)
    assert turns(Held(path="/readyz")).begun.wait(30)
    assert not turns(Held("c")).begun.wait(0.2)


def test_the_fourth_in_hand_is_refused_however_the_header_spells_its_token(turns) -> None:
    for _ in range(3):
        assert not turns(Held("a")).request.is_too_many
    again = Held("a")
    again.request.headers["AUTHORIZATION"] = "bearer   a "
    assert turns(again).request.is_too_many
    assert again.begun.wait(30)
    assert not turns(Held("b")).request.is_too_many


def test_what_was_served_is_not_in_hand_any_more(turns) -> None:
    held = [turns(Held("a")) for _ in range(3)]
    for one in held:
        one.let_go.set()
    wait_until(lambda: not turns(Held("a")).request.is_too_many, 30, "the three to be served")


def test_what_still_waits_at_the_end_is_cancelled() -> None:
    turns = Turns(1, most_in_flight=0, cookie="session")
    first, second = Held("a"), Held("a")
    turns.add_task(first)
    turns.add_task(second)
    assert first.begun.wait(30)
    turns.shutdown(timeout=0.1)
    first.let_go.set()
    assert second.cancelled.is_set()


def test_40_starts_against_a_locked_business_hold_up_nobody_else(
    web: Callable[..., Client], make: Any, engine: Any
) -> None:
    locked, other = make.business(), make.business()
    blocked, poller = web(make.token(locked)), web(make.token(other))
    assert blocked.get("/api/jobs").status == poller.get("/api/jobs").status == 200  # both are known there
    with engine.connect() as connection, ThreadPoolExecutor(40) as pool:
        connection.execute(text("SELECT id FROM businesses WHERE id = :id FOR UPDATE"), {"id": locked})
        starts: list[Future[Any]] = [
            pool.submit(blocked.post, "/api/receipts/delete_all", {"confirm": "DELETE"}) for _ in range(40)
        ]
        wait_until(lambda: sum(s.done() for s in starts) >= 8, 30, "those beyond 32 to be refused")
        assert {start.result().status for start in starts if start.done()} - {503} == {429}  # 503 after 10 s
        for path in ("/healthz", "/api/jobs", "/healthz", "/api/jobs"):
            began = time.monotonic()
            assert poller.get(path).status == 200
            assert time.monotonic() - began < 5  # and not the 10 s of the lock
        connection.rollback()
        assert sorted({start.result().status for start in starts}) in ([202, 409, 429], [202, 429, 503])
