"""The signals of a worker process, where they interrupt each other."""

import signal
import sys
from threading import Event
from typing import Any

import pytest

from actors.runtime.worker import signals


@pytest.fixture
def dramatiq():
    """Dramatiq's handler as it is: it notes the first signal, and exits at the second."""
    running = True

    def handler(_number: int, _frame: object) -> None:
        nonlocal running
        if not running:
            sys.exit("killed")
        running = False

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        signal.signal(number, handler)
    yield lambda: running
    for number, old in before.items():
        signal.signal(number, old)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_comes_while_the_first_is_being_heeded_is_ignored(second, dramatiq, monkeypatch) -> None:
    class Interrupted(Event):
        """The second signal arrives where it is worst: while the first one's set() holds the event's lock."""

        def set(self) -> None:
            with self._cond:
                signal.raise_signal(second)
                self._flag = True
                self._cond.notify_all()

    monkeypatch.setattr(signals, "Event", Interrupted)
    stopping = signals.install_stop_handler()
    signal.raise_signal(signal.SIGTERM)
    assert stopping.is_set()
    assert not dramatiq()
    signal.raise_signal(second)  # and one that comes later


def test_a_signal_that_comes_before_we_listen_counts(dramatiq) -> None:
    signal.raise_signal(signal.SIGTERM)
    assert signals.install_stop_handler().is_set()
    signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_comes_while_we_begin_to_listen_counts_once(dramatiq, monkeypatch) -> None:
    listen = signal.signal

    def interrupted(number: int, handler: Any) -> None:
        listen(number, handler)
        if number == signal.SIGHUP:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(signal, "signal", interrupted)
    stopping = signals.install_stop_handler()
    monkeypatch.undo()
    assert stopping.is_set()
    assert not dramatiq()
    signal.raise_signal(signal.SIGTERM)
