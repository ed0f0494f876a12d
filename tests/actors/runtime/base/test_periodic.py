"""A chore of a process, in a thread of its own."""

from queue import SimpleQueue
from threading import Event

from structlog.testing import capture_logs

from actors.runtime.base.periodic import Periodic
from service.local.processes import wait_until


def test_a_chore_that_is_woken_does_its_round_at_once() -> None:
    rounds: SimpleQueue[None] = SimpleQueue()
    chore = Periodic(3600, "chore", lambda: rounds.put(None))
    chore.start()
    rounds.get(timeout=30)
    chore.wake()
    rounds.get(timeout=30)
    chore.stop(30)
    assert not chore.is_alive()


def test_the_second_round_comes_at_a_random_moment_and_all_others_in_their_time(monkeypatch) -> None:
    """Chores that began together would otherwise go on together."""
    asked, rounds = [], SimpleQueue()
    monkeypatch.setattr("random.uniform", lambda least, most: asked.append((least, most)) or 0.01)
    chore = Periodic(3600, "chore", lambda: rounds.put(None))
    chore.start()
    for _ in range(2):
        rounds.get(timeout=30)
    chore.wake()  # of no third one before
    rounds.get(timeout=30)
    chore.stop(30)
    assert asked == [(0, 3600)]
    assert rounds.empty()


def test_a_chore_that_has_more_to_do_goes_on_at_once_and_one_that_fails_later() -> None:
    rounds: SimpleQueue[int] = SimpleQueue()

    def one_round() -> object:
        number = rounds.qsize() + 1
        rounds.put(number)
        if number == 3:
            raise TimeoutError("no answer")
        if number == 4:
            raise LookupError("a bug")
        return number < 3 or "not True"

    chore = Periodic(3600, "chore", one_round)
    with capture_logs() as lines:
        chore.start()
        wait_until(lambda: len(lines) == 1, 30, "the third round")
        chore.wake()
        wait_until(lambda: len(lines) == 2, 30, "the fourth round")
        chore.wake()
        wait_until(lambda: rounds.qsize() == 5, 30, "the fifth round")
        chore.stop(30)
    assert [(line["log_level"], line["name"], line["error"], line["exc_info"]) for line in lines] == [
        ("warning", "chore", "TimeoutError: no answer", False),
        ("error", "chore", "LookupError: a bug", True),
    ]
    assert rounds.qsize() == 5  # what is not True waits for its time


def test_the_end_of_a_chore_waits_for_its_round() -> None:
    began, over = Event(), Event()
    chore = Periodic(3600, "chore", lambda: began.set() or over.wait(30))
    chore.start()
    assert began.wait(30)
    chore.stop(0.01)
    assert chore.is_alive()  # … but only so long
    over.set()
    chore.stop(30)
    assert not chore.is_alive()
