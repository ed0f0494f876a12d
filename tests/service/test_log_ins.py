"""Log-ins that somebody waits for: what a mail server or a tenant can take of them from the others."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import pytest

from service.local.processes import wait_until
from service.log_ins import AT_ONCE, WAITING
from tests.actors.mail.hostile import Hostile, dripping, endless, hostile, silent
from tests.service.conftest import Api

MB = 1024 * 1024


@pytest.fixture
def owners(api, make, connecting) -> Callable[[], Api]:
    """owners(): another business's owner each time, of one web process."""
    first = api(make.business(), **connecting)
    return lambda: Api(first._client, make.token(make.business(), "owner"))


@pytest.fixture
def expire(monkeypatch) -> Callable[[float], None]:
    return lambda seconds: monkeypatch.setattr("service.log_ins.SECONDS", seconds)


def log_in_threads() -> list[Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "log-in"]


@contextmanager
def connecting_to(port: int, callers: list[Api], params: dict[str, Any]) -> Iterator[list[Any]]:
    """Their answers, once it is left."""
    answers: list[Any] = []
    body = {**params, "port": port}
    threads = [Thread(target=lambda c=c: answers.append(c.post("/api/connections", body))) for c in callers]
    for thread in threads:
        thread.start()
    yield answers
    for thread in threads:
        thread.join()


class Held:
    """A server that says nothing and hangs up once it is told to."""

    def __init__(self) -> None:
        self.let_go = Event()

    def __call__(self, _server: Hostile, _connection: socket.socket) -> None:
        self.let_go.wait(60)
        raise ConnectionAbortedError


@pytest.mark.parametrize("behave", [silent, dripping, endless(b"* X " + b"a" * 900_000 + b"\r\n")])
def test_a_hostile_server_is_given_10_s_and_no_thread_is_left_of_it(owners, mails, expire, behave, monkeypatch) -> None:
    monkeypatch.setattr("actors.mail.line.SILENCE_SECONDS", 60)
    expire(1)
    with hostile(behave) as server:
        began = time.monotonic()
        answer = owners().post("/api/connections", {**mails.params, "port": server.port})
        assert (answer.status_code, answer.json["code"]) == (502, "mail_server_unreachable")
        assert time.monotonic() - began < 8
        wait_until(lambda: not log_in_threads(), 30, "the thread to end")
        assert server.hung_up.wait(30)
        assert server.sent < 16 * MB  # with what waits in the kernel's buffers


def test_one_business_has_one_log_in_in_hand(owners, mails, expire) -> None:
    expire(60)
    caller, held = owners(), Held()
    with hostile(held) as server, connecting_to(server.port, [caller], mails.params) as answers:
        assert server.accepted.wait(30)
        second = caller.post("/api/connections", mails.params)
        held.let_go.set()
        assert (second.status_code, second.headers["retry-after"]) == (429, "5")
    assert [answer.json["code"] for answer in answers] == ["mail_server_unreachable"]


def test_tenants_with_silent_servers_delay_the_others_a_little_only(owners, mails, expire, monkeypatch) -> None:
    expire(4)  # in which the other one logs in, on a busy machine too
    monkeypatch.setattr("service.log_ins.WAIT_SECONDS", 30)
    hostiles = [owners() for _ in range(AT_ONCE)]
    with hostile(silent) as server, connecting_to(server.port, hostiles, mails.params):
        wait_until(lambda: len(log_in_threads()) == AT_ONCE, 30, "all places to be taken")
        assert owners().post("/api/connections", mails.params).status_code == 201


def test_log_ins_that_take_long_count_as_failed_ones(owners, mails, monkeypatch) -> None:
    """Four tenants with slow servers of their own would hold all places for ever."""
    caller = owners()
    for _ in range(2):
        assert caller.post("/api/connections", mails.params).status_code == 201
    monkeypatch.setattr("service.log_ins.LONG_SECONDS", 0)
    statuses = [caller.post("/api/connections", mails.params).status_code for _ in range(6)]
    assert statuses == [201] * 5 + [429]
    assert owners().post("/api/connections", mails.params).status_code == 201


def test_more_than_may_wait_are_told_to_come_back(owners, mails, expire, monkeypatch) -> None:
    expire(60)
    monkeypatch.setattr("service.log_ins.WAIT_SECONDS", 0.1)
    many, held = [owners() for _ in range(AT_ONCE + WAITING + 3)], Held()
    with hostile(held) as server, connecting_to(server.port, many, mails.params) as answers:
        wait_until(lambda: len(answers) == WAITING + 3, 30, "those to be told")
        held.let_go.set()
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [429] * (WAITING + 3) + [502] * AT_ONCE


def test_a_name_that_is_looked_up_slowly_holds_no_place_and_is_connected_to_no_more(
    owners, mails, expire, monkeypatch
) -> None:
    expire(2)
    asked, go_on = Event(), Event()

    def slow(*_arguments: object, **_named: object) -> str:
        asked.set()
        go_on.wait(30)
        return "127.0.0.1"

    caller = owners()
    with hostile(silent) as server:
        with monkeypatch.context() as patched:
            patched.setattr("actors.mail.wire.resolve", slow)
            answer = caller.post("/api/connections", {**mails.params, "port": server.port})
            assert asked.is_set()
            assert answer.json["code"] == "mail_server_unreachable"
        expire(10)
        assert caller.post("/api/connections", mails.params).status_code == 201
        go_on.set()
        wait_until(lambda: not log_in_threads(), 30, "the thread to end")
        assert not server.accepted.is_set()


def test_five_log_ins_may_fail_at_once_then_one_a_minute(owners, mails, sql) -> None:
    caller, other = owners(), owners()
    wrong = {**mails.params, "password": "guess"}
    assert [caller.post("/api/connections", wrong).json["code"] for _ in range(5)] == ["login_refused"] * 5
    refusal = caller.post("/api/connections", mails.params)
    assert (refusal.status_code, refusal.json["code"]) == (429, "too_many_requests")
    assert 20 < int(refusal.headers["retry-after"]) == refusal.json["retry_after"] <= 60
    assert other.post("/api/connections", mails.params).status_code == 201
    sql("UPDATE failed_log_ins SET at = at - interval '61 s'")
    assert caller.post("/api/connections", wrong).json["code"] == "login_refused"
    assert caller.post("/api/connections", wrong).status_code == 429


def test_tests_that_fail_count_and_those_that_work_do_not(owners, mails, sql) -> None:
    caller = owners()
    made = caller.post("/api/connections", mails.params).json["connection_id"]
    for _ in range(6):
        assert caller.post(f"/api/connections/{made}/test").status_code == 200
    assert sql("SELECT * FROM failed_log_ins") == []
    mails.stop()
    for _ in range(5):
        assert caller.post(f"/api/connections/{made}/test").status_code == 502
    assert caller.post(f"/api/connections/{made}/test").status_code == 429
