"""A chore of a process, in a thread of its own."""

from queue import SimpleQueue

from actors.runtime.base.periodic import Periodic


def test_a_chore_that_is_woken_does_its_round_at_once() -> None:
    rounds: SimpleQueue[None] = SimpleQueue()
    chore = Periodic(3600, "chore", lambda: rounds.put(None))
    chore.start()
    rounds.get(timeout=30)
    chore.wake()
    rounds.get(timeout=30)
    chore.stop(30)
    assert not chore.is_alive()
