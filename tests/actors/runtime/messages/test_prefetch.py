"""How many messages a process may hold."""

import os
import subprocess
import sys

from actors.runtime.messages.prefetch import MOST, Prefetch


def after(prefetch: Prefetch, queue: str, seconds: float) -> None:
    prefetch.acquire(queue)
    prefetch.release(queue, seconds)


def test_of_a_queue_not_known_yet_as_many_are_claimed_as_threads_are_free() -> None:
    prefetch = Prefetch(8, fixed=0)
    assert prefetch.for_short("low") == 8
    prefetch.acquire("high")
    assert prefetch.for_short("low") == 7


def test_short_messages_are_claimed_ahead_and_only_when_half_are_gone() -> None:
    prefetch = Prefetch(8, fixed=0)
    after(prefetch, "low", 0.0001)
    assert prefetch.for_short("low") == MOST
    for _ in range(MOST // 2 + 1):
        prefetch.acquire("low")
    assert prefetch.for_short("low") == 0
    prefetch.release("low", 0.0001)
    assert prefetch.for_short("low") == MOST // 2


def test_messages_that_take_long_are_claimed_for_a_free_thread_only() -> None:
    prefetch = Prefetch(2, fixed=0)
    after(prefetch, "low", 0.5)
    assert prefetch.for_short("low") == 2
    prefetch.acquire("low")
    assert prefetch.for_short("low") == 1
    prefetch.acquire("receipts")  # a long job
    assert prefetch.for_short("low") == 0


def test_a_flood_of_short_messages_leaves_room_for_slow_and_new_queues() -> None:
    prefetch = Prefetch(2, fixed=0)
    after(prefetch, "flood", 0.0001)
    for _ in range(MOST):
        prefetch.acquire("flood")
    assert prefetch.for_short("rare") == 2
    after(prefetch, "rare", 0.5)
    assert prefetch.for_short("rare") == 2


def test_a_queue_that_gets_slow_is_noticed_soon() -> None:
    prefetch = Prefetch(4, fixed=0)
    after(prefetch, "low", 0.0001)
    for _ in range(5):
        after(prefetch, "low", 1.0)
    assert prefetch.for_short("low") == 4


def test_dramatiqs_own_setting_fixes_the_number() -> None:
    prefetch = Prefetch(8, fixed=20)
    after(prefetch, "low", 5.0)
    assert prefetch.for_short("low") == 20


def test_it_is_taken_from_the_environment() -> None:
    held = "from actors.runtime.messages.prefetch import Prefetch; print(Prefetch(8).for_short('low'))"
    said = subprocess.run(
        [sys.executable, "-c", held],
        env={**os.environ, "dramatiq_queue_prefetch": "20"},
        capture_output=True,
        check=True,
    )
    assert said.stdout == b"20\n"
