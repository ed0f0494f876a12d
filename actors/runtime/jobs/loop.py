"""The loop that every job runs in: batch after batch, each with its checkpoint, until done or told to stop."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import structlog
from pydantic import ValidationError
from sqlalchemy import Engine, text

from actors.runtime.base.config import Settings
from actors.runtime.base.errors import KindError
from actors.runtime.base.failures import describe_for_users, is_data, is_timeout, is_transient
from actors.runtime.base.storage import Bucket
from actors.runtime.jobs.backoff import Backoff
from actors.runtime.jobs.batch import Batch, Cursor
from actors.runtime.jobs.beats import Beats
from actors.runtime.jobs.blockers import Waits
from actors.runtime.jobs.claim import Claim
from actors.runtime.jobs.kinds import Kind, Start
from actors.runtime.jobs.params import Params, sentence
from actors.runtime.jobs.progress import percent
from actors.runtime.jobs.run import Run
from actors.runtime.jobs.session import Session
from actors.runtime.jobs.verdicts import Interrupted, Permanent, Snooze, Transient, Verdict
from sql.states import COMPLETED, FAILED, PAUSED, QUEUED

log = structlog.get_logger("longhaul.job")

ASK_SECONDS = 1  # whether others wait
DONE = object()  # the generator's end

OTHERS_WAIT = text("""
    SELECT EXISTS (
        SELECT FROM background_jobs
        WHERE status = 'queued' AND queue = ANY (:queues) AND job_type = ANY (:kinds) AND id <> :job_id
          AND (wait_until IS NULL OR wait_until <= clock_timestamp()))
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
    beats: Beats = field(default_factory=Beats)  # jobs that are at work outside Postgres
    kinds: tuple[str, ...] = ()  # what this process works on
    bucket: Bucket | None = None  # None: one is made when a kind asks for it


class Loop:
    def __init__(self, claim: Claim, kind: Kind, place: JobContext) -> None:
        self.claim = claim
        self.kind = kind
        self.place = place
        self.limit = self.batch_size = self._setting("BATCH_SIZE")
        self.throttle = self._setting("THROTTLE_MS") / 1000
        self.cap = self._setting("MAX_RUNTIME_SECONDS")
        self.gives_way_at = time.monotonic() + self._setting("GIVE_WAY_SECONDS")
        self.max_refusals = self._setting("MAX_REFUSALS_IN_A_ROW")
        self.ends_at = time.monotonic() + self.cap
        self.backoff = Backoff(self)
        self.bad_row: tuple[Batch, str] | None = None  # and why; passed over in the next step
        self.snooze: Snooze | None = None  # obeyed in the next step
        self.session = Session(place.engine, place.waits, place.beats)
        self.current: Run[Any] | None = None
        self.batches: Iterator[Batch] = iter(())

    def _setting(self, name: str) -> int:
        value: int = self.kind.setting(self.place.settings, name)
        return value

    def run(self) -> None:
        while True:
            try:
                if self._step():
                    return
            except Interrupted:
                self.close()
            except Exception as error:
                current_batch = self.current.current_batch if self.current else None
                self.close()
                if not self._goes_on(error, current_batch):
                    return

    def _goes_on(self, error: Exception, batch: Batch | None) -> bool:
        """What becomes of the job after this error? The kind is asked first."""
        verdict = self._verdict(error)
        if isinstance(verdict, Snooze):
            self.snooze = verdict
            return True
        if isinstance(verdict, Permanent):
            self.fail(verdict)
            return False
        if isinstance(verdict, Transient) or is_transient(error):
            return self.backoff.after(verdict or error)
        if is_data(error) and batch and batch.ids:
            self._narrow_down(batch, describe_for_users(error))
            return True
        raise error

    def _verdict(self, error: Exception) -> Verdict | None:
        if isinstance(error, Verdict) or self.kind.classify is None:
            return error if isinstance(error, Verdict) else None
        return self.kind.classify(error)

    def _step(self) -> bool:
        """Does one batch, or leaves: then True."""
        if self._told_to_stop():
            return True
        if self.bad_row:
            # Taken out first: if the commit's answer is lost, the saved cursor says whether it is still to do.
            row, self.bad_row = self.bad_row, None
            self._pass_over(*row)
            return False
        batch = self._next_batch()
        if batch is None:
            self.leave(COMPLETED, "completed")
            return True
        self.backoff.failures = 0
        self.limit = min(self.limit * 2, self.batch_size)
        self._batch_done(batch)
        return False

    def _told_to_stop(self) -> bool:
        """Between batches: is there a reason to leave? Then leaves."""
        if self.claim.requested:
            # leave_running() turns this into paused or cancelled, unless the request was withdrawn meanwhile.
            self.leave(QUEUED, "requeued", "the request was withdrawn")
        elif self.snooze:
            self.leave(QUEUED, "snoozed", self.snooze.sentence, wait=self.snooze.seconds)
        elif 0 < self.max_refusals <= self.claim.refusals:
            self.leave(FAILED, "failed", self._refused(), code="refused")
        elif self.place.stopping.is_set():
            self.leave(QUEUED, "requeued", "the worker is stopping")
        elif time.monotonic() >= self.ends_at and not self.backoff.failures:  # else ten in a row would never be reached
            self.leave(QUEUED, "requeued", f"runtime cap of {self.cap} s")
        elif self.current and time.monotonic() >= self.gives_way_at and self._others_wait():
            self.leave(QUEUED, "requeued", "others wait")
        else:
            return False
        return True

    def _refused(self) -> str:
        last = f", the last: {self.claim.last_error}" if self.claim.last_error else ""
        return f"{self.claim.refusals} rows in a row were refused{last}"

    def _others_wait(self) -> bool:
        """Does a job wait that this worker could take now? Asked each second, once this one has run for a while.

        Not before a batch was done: that is when `current` is there. Otherwise jobs could give way to each other
        for ever.
        """
        self.gives_way_at = time.monotonic() + ASK_SECONDS
        values = {
            "queues": list({*self.place.settings.WORKER_QUEUES, self.kind.queue}),
            "kinds": [*self.place.kinds, *self.kind.names],
            "job_id": self.claim.job_id,
        }
        connection = self.session.begin(self.claim)
        waits = bool(connection.execute(OTHERS_WAIT, values).scalar_one())
        self.session.commit_as_is(self.claim)
        return waits

    def _next_batch(self) -> Batch | None:
        """One batch and its checkpoint in one transaction. None: nothing is left."""
        run = self._open()
        run.limit, run.current_batch = self.limit, None
        batch: Any = next(self.batches, DONE)
        if batch is DONE:
            if self.session.is_open:  # what the kind wrote after its last batch
                self.session.commit(self.claim)
            return None
        self._check(batch)
        self.session.checkpoint(self.claim, batch)
        run.cursor = batch.cursor
        return batch  # type: ignore[no-any-return]

    def _check(self, batch: Any) -> None:
        """KindError unless it is a batch that moves the cursor: a kind that does neither would run for ever."""
        if not isinstance(batch, Batch):
            raise KindError(f"{self.kind.name} yielded {type(batch).__name__}, expected a Batch")
        if not isinstance(batch.cursor, dict):
            raise KindError(f"{self.kind.name} yielded the cursor {batch.cursor!r}, expected an object")
        if same(batch.cursor, self.claim.cursor or {}):
            raise KindError(f"{self.kind.name} yielded a batch that does not move the cursor: {batch.cursor!r}")

    def _open(self) -> Run[Any]:
        """At the start and after a failure: a connection, and the kind's generator from the saved cursor on."""
        if self.current is None:
            self.claim = self.session.connect(self.claim)
            params = self._params()
            self._count(params)
            place = self.place
            bucket = place.bucket or Bucket(place.settings)
            self.current = Run(self.claim, params, place.settings, bucket, self.session, place.stopping, self.limit)
            self.batches = self.kind.work(self.current)
        return self.current

    def _params(self) -> Params:
        try:
            return self.kind.params.model_validate_json(json.dumps(self.claim.params))
        except ValidationError as error:
            raise Permanent(f"params: {sentence(error)}", "invalid_params") from None

    def _count(self, params: Params) -> None:
        """What the start left to us. If it takes too long here as well, the total stays unknown."""
        if self.claim.total is not None or self.kind.count is None:
            return
        connection = self.session.begin(self.claim)
        try:
            with connection.begin_nested():
                start = Start(connection, self.claim.business_id, self.place.settings)
                total = self.kind.count(start, params)
        except Exception as error:
            if not is_timeout(error):
                raise
        else:
            self.claim.set_total(connection, total)
        self.session.commit_as_is(self.claim)

    def close(self) -> None:
        """Ends the generator, and lets go of the connection; what was not committed is rolled back."""
        batches, self.batches, self.current = self.batches, iter(()), None
        try:
            if hasattr(batches, "close"):
                batches.close()
        except Exception as error:  # of the kind's own cleaning up: what was written is rolled back all the same
            log.warning("job.close_failed", job_id=self.claim.job_id, error=describe_for_users(error))
        finally:
            self.session.close(self.claim)

    def _batch_done(self, batch: Batch) -> None:
        claim = self.claim
        first, last = (batch.ids[0], batch.ids[-1]) if batch.ids else (None, None)
        log.info(
            "batch.done",
            job_id=claim.job_id,
            first=first,
            last=last,
            failed=batch.failed,
            processed=claim.processed,
            total=claim.total,
            percent=percent(claim.processed, claim.total),
            **{self.kind.done_label: batch.succeeded},
        )
        self.place.wake_outbox()
        self.place.stopping.wait(self.throttle)

    def _narrow_down(self, failed: Batch, error: str) -> None:
        """Halves the batch that failed on its data, down to the one row that does."""
        self.session.wait = None  # for the row's own turn is another transaction
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

    def fail(self, error: BaseException) -> None:
        """Leaves as failed, as soon as that can be written."""
        self.backoff.fail(error)

    def leave(
        self, target: str, event: str, why: str | None = None, *, wait: float | None = None, code: str | None = None
    ) -> None:
        self.close()
        with self.place.engine.begin() as connection:
            left = self.claim.leave(connection, target, event, why, wait=wait, code=code)
        name = {QUEUED: "job.requeued", FAILED: "job.failed", PAUSED: "job.paused"}.get(left.status, "job.finished")
        said = {"status": left.status, "actor": left.actor, "why": left.reason}
        log.info(name, job_id=self.claim.job_id, processed=self.claim.processed, **said)
        self.place.wake_outbox()


def same(one: Cursor, other: Cursor) -> bool:
    """As JSON, for that is how they are saved."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
