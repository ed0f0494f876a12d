"""What a run does if Postgres or another service fails: waits with heartbeats and retries, or fails the job."""

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import structlog

from actors.runtime.base.failures import backoff_seconds, describe, describe_for_users, is_lock_timeout, is_transient
from actors.runtime.jobs.verdicts import Permanent, Transient, Verdict
from sql.states import FAILED, QUEUED

if TYPE_CHECKING:
    from actors.runtime.jobs.loop import Loop

log = structlog.get_logger("longhaul.job")

BEAT_SECONDS = 2


class Backoff:
    def __init__(self, loop: "Loop") -> None:
        self._loop = loop
        self._most: int = loop.kind.setting(loop.place.settings, "MAX_BATCH_FAILURES")
        self.failures = loop.claim.failures  # consecutive transient failures
        self._said = ""  # the last one's description

    def after(self, error: Exception) -> bool:
        """Waits, with heartbeats, before the batch is retried. False if there is no next try.

        If the worker is stopping, it does not wait.
        """
        if self._loop.place.stopping.is_set():
            self._leave_at_once(error)
            return False
        self.failures += 1
        said = self._said = told(error) + self._blocked(error)
        if self.failures >= self._most:
            why = f"{self.failures} failures in a row, the last: {said}"
            if not self._cannot_fail(why):
                return False
        elif isinstance(error, Transient | TimeoutError) and self._gives_way(said):  # none of Postgres's errors
            return False
        self._wait(self.failures, said)
        return True

    def _gives_way(self, said: str) -> bool:
        """The world failed, not Postgres, and others wait: they get the thread for as long as this job waits."""
        leaving = self._loop.leaving
        try:
            with self._loop.place.engine.begin() as connection:
                others_wait = leaving.ask_who_waits(connection)
            if others_wait:
                leaving.leave(QUEUED, "snoozed", said, wait=backoff_seconds(self.failures), failures=self.failures)
        except Exception as cannot:
            if not is_transient(cannot):
                raise
            return False
        return others_wait

    def fail(self, error: BaseException) -> None:
        """Leaves as failed, once that can be written: until then the job is running, and nobody else looks after it."""
        why, tries = told(error), 0
        code = error.code if isinstance(error, Permanent) else None
        if self._said:  # the error arose after earlier retries
            why += f", after {self.failures} failures in a row, the last: {self._said}"
        while cannot := self._cannot_fail(why, code):
            if self._loop.place.stopping.is_set():
                self._abandoned(error, cannot)
                return
            tries += 1
            self._wait(tries, told(cannot))

    def _blocked(self, error: Exception) -> str:
        """Who held the lock that the batch waited for; recorded earlier, because it can't be seen after the timeout."""
        session = self._loop.session
        wait, session.wait = session.wait, None
        if wait is None or wait.blocker is None or not is_lock_timeout(error):
            return ""
        log.warning("batch.blocked", job_id=self._loop.claim.job_id, **asdict(wait.blocker))
        return f"; {wait.blocker}"

    def _cannot_fail(self, why: str, code: str | None = None) -> Exception | None:
        """Leaves as failed; or returns why Postgres can't even write that now: then there is a next try."""
        try:
            self._loop.leaving.leave(FAILED, "failed", why, code=code)
        except Exception as error:
            if not is_transient(error):
                raise
            return error
        return None

    def _wait(self, failures: int, said: str) -> None:
        """Waits longer after each failure, with heartbeats that say why. A lost claim, a request or a stop ends it."""
        loop = self._loop
        known = loop.claim.requested  # if there is one, obeying it failed: that is what is being retried
        seconds = backoff_seconds(failures)
        log.warning("backoff", job_id=loop.claim.job_id, seconds=seconds, failures=failures, error=said)
        ends_at = time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0 and not loop.place.stopping.is_set():
            try:
                with loop.place.engine.begin() as connection:
                    loop.claim.beat(connection, said)
            except Exception as beat_error:
                if not is_transient(beat_error):
                    raise
            if loop.claim.requested != known:
                break
            loop.place.stopping.wait(min(left, BEAT_SECONDS))

    def _leave_at_once(self, error: Exception) -> None:
        """Tries once to put the job back; otherwise the sweep does, once this process is gone."""
        log.warning("batch.interrupted", job_id=self._loop.claim.job_id, error=told(error))
        try:
            self._loop.leaving.leave(QUEUED, "requeued", "the worker is stopping")
        except Exception as cannot:  # whatever the cause, a stopping process can't fix it
            self._abandoned(error, cannot)

    def _abandoned(self, cause: BaseException, error: Exception) -> None:
        log.warning("job.abandoned", job_id=self._loop.claim.job_id, error=describe(error), cause=describe(cause))


def told(error: BaseException) -> str:
    """In the kind's own words, if it has any."""
    return error.sentence if isinstance(error, Verdict) else describe_for_users(error)
