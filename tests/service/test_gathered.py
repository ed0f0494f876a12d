from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import pytest

from service import gathered
from service.gathered import Gathered
from service.local.processes import wait_until


class Looks:
    """What was asked of each look; one that is held ends when it is told to."""

    def __init__(self) -> None:
        self.asked: list[set[int]] = []
        self.go_on = Event()
        self.error: Exception | None = None
        self.bad_key: int | None = None

    def __call__(self, keys: Any) -> dict[int, str]:
        number = len(self.asked)
        self.asked.append(set(keys))
        if number == 0:
            assert self.go_on.wait(100)
        if self.error:
            raise self.error
        if self.bad_key in keys:
            raise ValueError(self.bad_key)
        return {key: f"{key} in look {number}" for key in keys if key < 100}


@pytest.fixture
def looks() -> Looks:
    return Looks()


@pytest.fixture
def ask(looks: Looks) -> Callable[[int], list[Any]]:
    """ask(7): in a thread; the list gets the answer or the error."""
    one = Gathered(looks)

    def ask_one(key: int) -> list[Any]:
        answers: list[Any] = []

        def work() -> None:
            try:
                answers.append(one.get(key))
            except (ValueError, TimeoutError) as error:
                answers.append(error)

        Thread(target=work).start()
        return answers

    ask_one.gathered = one  # type: ignore[attr-defined]
    return ask_one


def waiting(ask: Any, number: int) -> bool:
    return len(ask.gathered._next.keys) == number


def test_who_asks_during_a_look_is_answered_by_the_next_together_with_others(looks, ask, monkeypatch) -> None:
    monkeypatch.setattr(gathered, "PATIENCE_SECONDS", 60)
    first = ask(1)
    wait_until(lambda: len(looks.asked) == 1, 30, "the first look")
    later = [ask(key) for key in (2, 3, 1, 100)]
    wait_until(lambda: waiting(ask, 4), 30, "all to ask")
    looks.go_on.set()
    wait_until(lambda: all([first, *later]), 30, "the answers")
    assert first == ["1 in look 0"]
    assert later == [["2 in look 1"], ["3 in look 1"], ["1 in look 1"], [None]]
    assert looks.asked == [{1}, {1, 2, 3, 100}]


def test_a_lost_connection_is_everybodys_who_asked_and_the_next_look_is_a_new_one(looks, ask, monkeypatch) -> None:
    monkeypatch.setattr(gathered, "PATIENCE_SECONDS", 60)
    first = ask(1)
    wait_until(lambda: len(looks.asked) == 1, 30, "the first look")
    later = [ask(2), ask(3)]
    wait_until(lambda: waiting(ask, 2), 30, "all to ask")
    looks.error = TimeoutError("away")
    looks.go_on.set()
    wait_until(lambda: all([first, *later]), 30, "the errors")
    assert [first, *later] == [[looks.error]] * 3
    looks.error = None
    assert ask.gathered.get(4) == "4 in look 2"


def test_a_question_that_cannot_be_answered_costs_itself(looks, ask, monkeypatch) -> None:
    monkeypatch.setattr(gathered, "PATIENCE_SECONDS", 60)
    first = ask(1)
    wait_until(lambda: len(looks.asked) == 1, 30, "the first look")
    later = [ask(2), ask(13), ask(3)]
    wait_until(lambda: waiting(ask, 3), 30, "all to ask")
    looks.bad_key = 13
    looks.go_on.set()
    wait_until(lambda: all([first, *later]), 30, "the answers")
    assert [answer[:4] if isinstance(answer, str) else type(answer) for (answer,) in later] == [
        "2 in",
        ValueError,
        "3 in",
    ]


def test_a_look_that_hangs_holds_up_the_others_for_a_second_only(looks, ask) -> None:
    hanging = ask(1)
    wait_until(lambda: len(looks.asked) == 1, 30, "the first look")
    others = [ask(2), ask(3)]
    wait_until(lambda: all(others), 30, "the others to be answered")
    assert not hanging
    looks.go_on.set()
    wait_until(lambda: bool(hanging), 30, "the first answer")
