"""A thread that does one round of something every few seconds, or at once when it is poked."""

from collections.abc import Callable
from threading import Event, Thread

import structlog

from actors.runtime.base.failures import describe, is_transient

log = structlog.get_logger("longhaul.worker")


class Periodic(Thread):
    def __init__(self, seconds: float, name: str, one_round: Callable[[], object]) -> None:
        """A round that returns True is followed by the next one at once."""
        super().__init__(name=name, daemon=True)
        self._seconds = seconds
        self._round = one_round
        self._woken = Event()
        self._stopped = False

    def run(self) -> None:
        while not self._stopped:
            self._woken.clear()
            again = False
            try:
                again = self._round() is True
            except Exception as error:  # Postgres or the bucket is away: the next round may find it back
                bug = not is_transient(error)
                log.log(40 if bug else 30, "round.failed", name=self.name, error=describe(error), exc_info=bug)
            if not again:
                self._woken.wait(self._seconds)

    def wake(self) -> None:
        self._woken.set()

    def stop(self, seconds: float) -> None:
        """Lets the round in hand end, for at most so long."""
        self._stopped = True
        self._woken.set()
        self.join(seconds)
