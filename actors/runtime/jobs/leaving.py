"""Why a run ends between two batches, and how it leaves: all ends of a claim by its own worker are here."""

import time
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import Connection, text

from sql.states import FAILED, PAUSED, QUEUED

if TYPE_CHECKING:
    from actors.runtime.jobs.loop import Loop

log = structlog.get_logger("longhaul.job")

ASK_SECONDS = 1  # how often to ask whether others wait

OTHERS_WAIT = text("""
    SELECT EXISTS (
        SELECT FROM background_jobs
        WHERE status = 'queued' AND queue = ANY (:queues) AND job_type = ANY (:kinds) AND id <> :job_id
          AND (wait_until IS NULL OR wait_until <= clock_timestamp()))
""")


class Leaving:
    def __init__(self, loop: "Loop") -> None:
        self._loop = loop
        setting = loop.setting
        self._cap = setting("MAX_RUNTIME_SECONDS")
        self._ends_at = time.monotonic() + self._cap
        self._gives_way_at = time.monotonic() + setting("GIVE_WAY_SECONDS")
        self._max_refusals = setting("MAX_REFUSALS_IN_A_ROW")

    def told_to_stop(self) -> bool:
        """Between batches: is there a reason to leave? Then leaves."""
        if self._loop.claim.requested:
            # leave_running() turns this into paused or cancelled, unless the request has been withdrawn.
            self.leave(QUEUED, "requeued", "the request was withdrawn")
        elif self._loop.snooze:
            self.leave(QUEUED, "snoozed", self._loop.snooze.sentence, wait=self._loop.snooze.seconds)
        elif 0 < self._max_refusals <= self._loop.claim.refusals:
            self.leave(FAILED, "failed", self._refused(), code="refused")
        elif self._loop.place.stopping.is_set():
            self.leave(QUEUED, "requeued", "the worker is stopping")
        elif (
            time.monotonic() >= self._ends_at and not self._loop.backoff.failures
        ):  # otherwise it would never reach ten in a row
            self.leave(QUEUED, "requeued", f"runtime cap of {self._cap} s")
        elif self._loop.current and time.monotonic() >= self._gives_way_at and self._others_wait():
            self.leave(QUEUED, "requeued", "others wait")
        else:
            return False
        return True

    def _refused(self) -> str:
        last = f", the last: {self._loop.claim.last_error}" if self._loop.claim.last_error else ""
        return f"{self._loop.claim.refusals} rows in a row were refused{last}"

    def _others_wait(self) -> bool:
        """Is a job waiting that this worker could take now? Asked each second, once this one has run for a while.

        Not before a batch is done (`current` is set): otherwise jobs could give way to each other forever.
        """
        self._gives_way_at = time.monotonic() + ASK_SECONDS
        with self._loop.session.transaction(self._loop.claim) as connection:
            return self.ask_who_waits(connection)

    def ask_who_waits(self, connection: Connection) -> bool:
        """Does a job wait that this worker could take now?"""
        values = {
            "queues": list({*self._loop.place.settings.WORKER_QUEUES, self._loop.kind.queue}),
            "kinds": [*self._loop.place.kinds, *self._loop.kind.names],
            "job_id": self._loop.claim.job_id,
        }
        return bool(connection.execute(OTHERS_WAIT, values).scalar_one())

    def leave(
        self,
        target: str,
        event: str,
        why: str | None = None,
        *,
        wait: float | None = None,
        code: str | None = None,
        failures: int = 0,
    ) -> None:
        self._loop.close()
        with self._loop.place.engine.begin() as connection:
            left = self._loop.claim.leave(connection, target, event, why, wait=wait, code=code, failures=failures)
        name = {QUEUED: "job.requeued", FAILED: "job.failed", PAUSED: "job.paused"}.get(left.status, "job.finished")
        said = {"status": left.status, "actor": left.actor, "why": left.reason}
        log.info(name, job_id=self._loop.claim.job_id, processed=self._loop.claim.processed, **said)
        self._loop.place.wake_outbox()
