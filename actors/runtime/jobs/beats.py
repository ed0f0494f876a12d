"""Heartbeats of jobs that work outside a transaction, on a separate connection."""

import time
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Engine

from actors.runtime.base.errors import ClaimLost
from actors.runtime.base.failures import describe
from actors.runtime.jobs.claim import Claim

log = structlog.get_logger("longhaul.job")

BEAT_SECONDS = 5


@dataclass
class Beats:
    """The claims of a worker process that have no transaction open. Each thread adds and removes its own."""

    _outside: dict[int, tuple[Claim, float]] = field(default_factory=dict)  # by job: and since when

    def outside(self, claim: Claim) -> None:
        self._outside[claim.job_id] = (claim, time.monotonic())

    def inside(self, claim: Claim) -> None:
        self._outside.pop(claim.job_id, None)

    def beat(self, engine: Engine) -> None:
        """Sends a heartbeat for each claim that has been outside for a while; reads what was requested of it.

        These are not a sign of progress: the rule for jobs that do not change still applies.
        """
        since = time.monotonic() - BEAT_SECONDS
        for claim, began in list(self._outside.values()):
            if began > since:
                continue
            try:
                with engine.begin() as connection:
                    claim.beat(connection)
            except ClaimLost:
                claim.requested = "lost"  # wakes the waiting thread; its next write finds out
                self.inside(claim)
            except Exception as error:
                log.warning("beat.failed", job_id=claim.job_id, error=describe(error))
