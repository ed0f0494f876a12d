"""A thread that does one round of something every few seconds, or at once when it is poked."""

from collections.abc import Callable
from threading import Event, Thread

import structlog

log = structlog.get_logger("longhaul.worker")


class Every(Thread):
    def __init__(self, seconds: float, name: str, one_round: Callable[[], object]) -> None:
        super().__init__(name=name, daemon=True)
        self._seconds = seconds
        self._round = one_round
        self._poked = Event()
        self._stopped = False

    def run(self) -> None:
        while not self._stopped:
            self._poked.clear()
            try:
                self._round()
            except Exception as error:  # Postgres or the bucket is away: the next round may find it back
                log.warning("round.failed", name=self.name, error=f"{type(error).__name__}: {error}"[:300])
            self._poked.wait(self._seconds)

    def poke(self) -> None:
        self._poked.set()

    def stop(self, seconds: float) -> None:
        """Lets the round in hand end, for at most so long."""
        self._stopped = True
        self._poked.set()
        self.join(seconds)
