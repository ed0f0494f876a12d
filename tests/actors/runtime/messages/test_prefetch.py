"""How many messages a process may hold."""

import os
import subprocess
import sys

import pytest

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


@pytest.mark.parametrize(("seconds", "most"), [(0.0001, 64), (0.0125, 64), (0.02, 40), (0.05, 16), (0.2, 8), (9.0, 8)])
def test_as_many_are_claimed_ahead_as_all_threads_do_in_a_tenth_of_a_second(seconds: float, most: int) -> None:
    prefetch = Prefetch(8, fixed=0)
    after(prefetch, "low", seconds)
    assert prefetch.for_short("low") == pytest.approx(most, abs=1)


def test_what_a_message_takes_is_a_mean_in_which_the_last_counts_a_fifth() -> None:
    prefetch = Prefetch(8, fixed=0)
    after(prefetch, "low", 0.02)
    after(prefetch, "low", 0.12)
    assert prefetch.for_short("low") == int(8 * 0.1 / (0.8 * 0.02 + 0.2 * 0.12))
    prefetch.acquire("low")
    prefetch.release("low")  # it never began
    assert prefetch.for_short("low") == 20


def test_of_the_threads_one_is_kept_for_short_messages_if_there_are_two() -> None:
    for threads, alone, beside in ((1, 1, 1), (2, 2, 1), (8, 8, 7)):
        prefetch = Prefetch(threads, fixed=0)
        assert prefetch.for_long(["receipts"], beside_short=False) == alone
        assert prefetch.for_long(["receipts"], beside_short=True) == beside
        assert prefetch.long_limits(["receipts", "high"], ["low"]) == ({"receipts": beside, "high": beside}, beside)
        assert prefetch.long_limits(["receipts"], []) == ({"receipts": alone}, alone)
        assert prefetch.long_limits([], ["low"]) == ({}, 0)


def test_while_all_threads_do_long_jobs_no_short_message_is_claimed() -> None:
    prefetch = Prefetch(2, fixed=0)
    assert prefetch.short_limits(["receipts"], ["low", "high"]) == ({"low": 2, "high": 2}, 4)
    prefetch.acquire("receipts")
    assert prefetch.short_limits(["receipts"], ["low", "high"]) == ({"low": 1, "high": 1}, 2)
    assert prefetch.long_limits(["receipts"], ["low"]) == ({}, 0)  # that thread is kept
    prefetch.acquire("receipts")
    assert prefetch.short_limits(["receipts"], ["low"]) == ({}, 0)
    assert prefetch.short_limits([], ["low"]) == ({}, 0)  # what is not told of as long is slow all the same
    prefetch.release("receipts")
    assert prefetch.short_limits(["receipts"], ["low"]) == ({"low": 1}, 1)


@pytest.mark.parametrize(("threads", "most"), [(2, [8, 7, 6, 5, 4, 0, 0, 0, 0]), (6, [8, 7, 6, 5, 4, 3, 0, 0, 0])])
def test_a_fixed_number_is_filled_up_when_half_is_gone_or_a_thread_is_free(threads: int, most: list[int]) -> None:
    prefetch = Prefetch(threads, fixed=8)
    found = []
    for _ in range(9):
        found.append(prefetch.for_short("low"))
        prefetch.acquire("low")
    assert found == most
