"""The loop that every job runs in: batch after batch, each with its checkpoint, until done or told to stop."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from threading import Event

import structlog
from sqlalchemy import Connection, Engine, text

from actors.runtime.base.config import Settings
from actors.runtime.base.failures import (
    backoff_seconds,
    describe,
    describe_for_users,
    is_data,
    is_lock_timeout,
    is_timeout,
    is_transient,
)
from actors.runtime.jobs.blockers import PID, Wait, Waits
from actors.runtime.jobs.claim import Claim
from actors.runtime.jobs.kinds import Count, Kind
from actors.runtime.jobs.progress import percent
from actors.runtime.jobs.run import Batch, Run
from sql.states import COMPLETED, FAILED, PAUSED, QUEUED

log = structlog.get_logger("longhaul.job")

BEAT_SECONDS = 2  # while backing off
ASK_SECONDS = 1  # whether others wait

OTHERS_WAIT = text("""
    SELECT EXISTS (SELECT FROM background_jobs WHERE status = 'queued' AND queue = :queue AND id <> :job_id)
""")


@dataclass(frozen=True)
class JobContext:
    """What a worker process gives to the jobs that run in it."""

    engine: Engine
    settings: Settings
    worker_id: Callable[[], int]
    stopping: Event  # set when the process was told to go
    wake_outbox: Callable[[], None]  # effects outside Postgres may be waiting now
    waits: Waits = field(default_factory=Waits)  # batches that the process's watcher looks at


class Loop:
    def __init__(self, claim: Claim, kind: Kind, place: JobContext) -> None:
        self.claim = claim
        self.kind = kind
        self.place = place
        self.limit = self.batch_size = kind.setting(place.settings, "BATCH_SIZE")
        self.throttle = kind.setting(place.settings, "THROTTLE_MS") / 1000
        self.cap = kind.setting(place.settings, "MAX_RUNTIME_SECONDS")
        self.gives_way_at = time.monotonic() + kind.setting(place.settings, "GIVE_WAY_SECONDS")
        self.max_failures = kind.setting(place.settings, "MAX_BATCH_FAILURES")
        self.max_refusals = kind.setting(place.settings, "MAX_REFUSALS_IN_A_ROW")
        self.ends_at = time.monotonic() + self.cap
        self.failures = 0  # transient ones, in a row
        self.said = ""  # of the last of them
        self.bad_row: tuple[Batch, str] | None = None  # and why; passed over in the next step
        self.connection: Connection | None = None
        self.pid = 0  # of its session
        self.wait: Wait | None = None  # the transaction that is open, or has failed
        self.current: Run | None = None
        self.batches: Iterator[Batch] = iter(())

    def run(self) -> None:
        while True:
            try:
                if self._step():
                    return
            except Exception as error:
                current_batch = self.current.current_batch if self.current else None
                self.close()
                if is_transient(error):
                    if not self._back_off(error):
                        return
                elif is_data(error) and current_batch:
                    self._narrow_down(current_batch, describe_for_users(error))
                else:
                    raise

    def _step(self) -> bool:
        """Does one batch, or leaves: then True."""
        if self._told_to_stop():
            return True
        if self.bad_row:
            # Taken out first: should the commit's answer be lost, the saved cursor says whether it is still to do.
            row, self.bad_row = self.bad_row, None
            self._pass_over(*row)
            return False
        batch = self._next_batch()
        if batch is None:
            self.leave(COMPLETED, "completed")
            return True
        self.failures = 0
        self.limit = min(self.limit * 2, self.batch_size)
        self._batch_done(batch)
        return False

    def _told_to_stop(self) -> bool:
        """Between batches: is there a reason to leave? Then leaves."""
        if self.claim.requested:
            # leave_running() turns this into paused or cancelled, unless the request was withdrawn meanwhile.
            self.leave(QUEUED, "requeued", "the request was withdrawn")
        elif 0 < self.max_refusals <= self.claim.refusals:
            self.leave(FAILED, "failed", self._refused())
        elif self.place.stopping.is_set():
            self.leave(QUEUED, "requeued", "the worker is stopping")
        elif time.monotonic() >= self.ends_at and not self.failures:  # else ten in a row would never be reached
            self.leave(QUEUED, "requeued", f"runtime cap of {self.cap} s")
        elif self.current and time.monotonic() >= self.gives_way_at and self._others_wait(self.current.connection):
            self.leave(QUEUED, "requeued", "others wait")
        else:
            return False
        return True

    def _refused(self) -> str:
        last = f", the last: {self.claim.last_error}" if self.claim.last_error else ""
        return f"{self.claim.refusals} rows in a row were refused{last}"

    def _others_wait(self, connection: Connection) -> bool:
        """Does another job wait in this job's queue? Asked each second, once the job has run for a while.

        Not before a batch was done: that is when `current` is there. Else jobs could give way to each other for ever.
        """
        self.gives_way_at = time.monotonic() + ASK_SECONDS
        with connection.begin():
            return bool(
                connection.execute(OTHERS_WAIT, {"queue": self.kind.queue, "job_id": self.claim.job_id}).scalar_one()
            )

    def _next_batch(self) -> Batch | None:
        """One batch and its checkpoint in one transaction. None: nothing is left."""
        connection, run = self._open()
        run.limit, run.current_batch = self.limit, None
        with self._watched(connection):
            batch = next(self.batches, None)
            if batch is not None:
                self.claim.checkpoint(connection, batch)
        return batch

    def _open(self) -> tuple[Connection, Run]:
        """At the start and after a failure: a connection, and the kind's generator from the saved cursor on."""
        if self.connection is None or self.current is None:
            self.connection = self.place.engine.connect()
            with self._watched(self.connection) as wait:
                wait.pid = self.pid = self.connection.execute(PID).scalar_one()
                self.claim = self.claim.reload(self.connection)
            if self.claim.total is None and self.kind.count:
                with self.connection.begin():
                    self._count(self.connection, self.kind.count)
            claim = self.claim
            self.current = Run(claim.job_id, claim.business_id, claim.params, claim.cursor, self.connection, self.limit)
            self.batches = self.kind.work(self.current)
        return self.connection, self.current

    @contextmanager
    def _watched(self, connection: Connection) -> Iterator[Wait]:
        """A transaction. Does it fail while it waits for a lock, `wait` says for whom."""
        wait = self.wait = Wait(self.pid, time.monotonic())
        with self.place.waits.noted(wait), connection.begin():
            yield wait
        self.wait = None

    def _count(self, connection: Connection, count: Count) -> None:
        """What the start left to us. Takes it too long here as well, the total stays unknown."""
        try:
            with connection.begin_nested():
                total = count(connection, self.claim.business_id, self.claim.params)
        except Exception as error:
            if not is_timeout(error):
                raise
            return
        self.claim.set_total(connection, total)

    def close(self) -> None:
        """Lets go of the connection; what was not committed is rolled back."""
        if self.connection is not None:
            self.connection.close()
        self.connection = self.current = None

    def _batch_done(self, batch: Batch) -> None:
        claim = self.claim
        log.info(
            "batch.done",
            job_id=claim.job_id,
            first=batch.ids[0],
            last=batch.ids[-1],
            failed=batch.failed,
            processed=claim.processed,
            total=claim.total,
            percent=percent(claim.processed, claim.total),
            **{self.kind.done_label: batch.succeeded},
        )
        self.place.wake_outbox()
        self.place.stopping.wait(self.throttle)

    def _back_off(self, error: Exception) -> bool:
        """Waits, beating, before the batch is tried again. False when there is no next try.

        A worker that is stopping waits for nothing.
        """
        if self.place.stopping.is_set():
            self._leave_at_once(error)
            return False
        self.failures += 1
        said = self.said = describe_for_users(error) + self._blocked(error)
        if self.failures >= self.max_failures:
            why = f"{self.failures} failures in a row, the last: {said}"
            if not self._cannot_fail(why):
                return False
        self._wait(self.failures, said)
        return True

    def _blocked(self, error: Exception) -> str:
        """Who held the lock that was waited for in vain: afterwards nobody can see it any more."""
        wait, self.wait = self.wait, None
        if wait is None or wait.blocker is None or not is_lock_timeout(error):
            return ""
        log.warning("batch.blocked", job_id=self.claim.job_id, **asdict(wait.blocker))
        return f"; {wait.blocker}"

    def fail(self, error: BaseException) -> None:
        """Leaves as failed, as soon as that can be written: a job that is given up while it runs has nobody."""
        why, tries = describe_for_users(error), 0
        if self.failures:  # what it met while it waited to try again
            why += f", after {self.failures} failures in a row, the last: {self.said}"
        while cannot := self._cannot_fail(why):
            if self.place.stopping.is_set():
                self._abandoned(error, cannot)
                return
            tries += 1
            self._wait(tries, describe_for_users(cannot))

    def _cannot_fail(self, why: str) -> Exception | None:
        """Leaves as failed. Or what keeps Postgres from writing even that, now: then there is a next try."""
        try:
            self.leave(FAILED, "failed", why)
        except Exception as error:
            if not is_transient(error):
                raise
            return error
        return None

    def _wait(self, failures: int, said: str) -> None:
        """Longer after each failure; beats, and says for what. A lost claim ends it, a new request, or a stop."""
        known = self.claim.requested  # if any, it could not be obeyed: that is what is waited for
        seconds = backoff_seconds(failures)
        log.warning("backoff", job_id=self.claim.job_id, seconds=seconds, failures=failures, error=said)
        ends_at = time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0 and not self.place.stopping.is_set():
            try:
                with self.place.engine.begin() as connection:
                    self.claim.beat(connection, said)
            except Exception as beat_error:
                if not is_transient(beat_error):
                    raise
            if self.claim.requested != known:
                break
            self.place.stopping.wait(min(left, BEAT_SECONDS))

    def _leave_at_once(self, error: Exception) -> None:
        """One try to put the job back; else the sweep does, once this process is gone."""
        log.warning("batch.interrupted", job_id=self.claim.job_id, error=describe_for_users(error))
        try:
            self.leave(QUEUED, "requeued", "the worker is stopping")
        except Exception as cannot:  # whatever keeps us from saying goodbye, a process that is going cannot mend it
            self._abandoned(error, cannot)

    def _abandoned(self, cause: BaseException, error: Exception) -> None:
        log.warning("job.abandoned", job_id=self.claim.job_id, error=describe(error), cause=describe(cause))

    def _narrow_down(self, failed: Batch, error: str) -> None:
        """Halves the batch that failed on its data, down to the one row that does."""
        self.wait = None  # for the row's own turn is another transaction
        log.warning("batch.failed", job_id=self.claim.job_id, ids=len(failed.ids), error=error)
        if len(failed.ids) > 1:
            self.limit = len(failed.ids) // 2
        else:
            self.bad_row = (failed, error)

    def _pass_over(self, row: Batch, error: str) -> None:
        row.succeeded, row.failed = 0, 1
        with self.place.engine.begin() as connection:
            self.claim.row_failed(connection, row, error)
        self._batch_done(row)

    def leave(self, target: str, event: str, why: str | None = None) -> None:
        self.close()
        with self.place.engine.begin() as connection:
            left = self.claim.leave(connection, target, event, why)
        name = {QUEUED: "job.requeued", FAILED: "job.failed", PAUSED: "job.paused"}.get(left.status, "job.finished")
        said = {"status": left.status, "actor": left.actor, "why": left.reason}
        log.info(name, job_id=self.claim.job_id, processed=self.claim.processed, **said)
        self.place.wake_outbox()
