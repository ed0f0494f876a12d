"""What an answer costs is paid once for all who ask within a second."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from types import SimpleNamespace

import pytest
from sqlalchemy import Engine, event

from service.local.processes import wait_until
from service.shared_answer import SECONDS, SharedAnswer


def test_who_asks_while_somebody_looks_gets_what_that_one_finds(monkeypatch) -> None:
    monkeypatch.setattr("service.shared_answer.SECONDS", 60)
    looks: list[int] = []
    let_go = Event()

    def look() -> int:
        looks.append(1)
        let_go.wait(30)
        return len(looks)

    answer = SharedAnswer(look)
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(answer.get) for _ in range(20)]
        wait_until(lambda: bool(looks), 30, "the first to look")
        let_go.set()
        assert {one.result() for one in asked} == {1}


def test_an_answer_is_never_older_than_a_second() -> None:
    answer = SharedAnswer(time.monotonic)
    first = answer.get()
    found_at = asked_at = time.monotonic()
    while (found := answer.get()) == first:
        assert asked_at - found_at < SECONDS
        asked_at = time.monotonic()
    assert found - first >= SECONDS


def test_an_error_is_shared_too_and_forgotten_as_soon(monkeypatch) -> None:
    looks: list[int] = []

    def look() -> int:
        looks.append(1)
        if len(looks) == 1:
            raise LookupError("no")
        return 7

    now = [100.0]
    monkeypatch.setattr("service.shared_answer.time", SimpleNamespace(monotonic=lambda: now[0]))
    answer = SharedAnswer(look)
    for _ in range(2):
        with pytest.raises(LookupError, match="no"):
            answer.get()
    assert len(looks) == 1
    now[0] += SECONDS
    assert answer.get() == 7


@pytest.mark.parametrize(
    ("path", "role", "of_a_look"),
    [("/readyz", None, "current_setting('server_encoding')"), ("/api/jobs/health", "member", "queue_states()")],
)
def test_a_flood_of_questions_asks_postgres_once_a_second(path, role, of_a_look, api, make) -> None:
    caller = api(make.business() if role else None, role)
    statements: list[str] = []

    def note(_connection, _cursor, statement, *_more) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        began = time.monotonic()
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda _: caller.get(path).json, range(60)))
        seconds = time.monotonic() - began
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert {answer["success"] for answer in answers} == {path == "/readyz"}  # nobody sweeps here
    looks = sum(of_a_look in statement for statement in statements)
    assert 1 <= looks <= seconds / SECONDS + 1
    assert looks < 30
