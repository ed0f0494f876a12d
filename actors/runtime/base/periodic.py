"""A thread that does a round of a chore every few seconds, or at once when woken."""

import random
from collections.abc import Callable
from threading import Event, Thread

import structlog

from actors.runtime.base.failures import describe, is_transient

log = structlog.get_logger("longhaul.worker")


class Periodic(Thread):
    def __init__(self, seconds: float, name: str, one_round: Callable[[], object]) -> None:
        """If a round returns True, the next one follows at once.

        The second round comes at a random moment: otherwise the workers of a deploy, which begin together, would do the
        same chore together for ever, and nobody in between.
        """
        super().__init__(name=name, daemon=True)
        self._seconds = seconds
        self._round = one_round
        self._woken = Event()
        self._stopped = False

    def run(self) -> None:
        pause = random.uniform(0, self._seconds)  # noqa: S311 - no secret
        while not self._stopped:
            self._woken.clear()
            again = False
            try:
                again = self._round() is True
            except Exception as error:  # Postgres or the bucket is down: it may be back in the next round
                bug = not is_transient(error)
                log.log(40 if bug else 30, "round.failed", name=self.name, error=describe(error), exc_info=bug)
            if not again:
                self._woken.wait(pause)
                pause = self._seconds

    def wake(self) -> None:
        self._woken.set()

    def stop(self, seconds: float) -> None:
        """Waits at most this long for the current round to end."""
        self._stopped = True
        self._woken.set()
        self.join(seconds)
