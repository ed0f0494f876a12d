"""The loop that every job runs in: batch after batch, each with its checkpoint, until done or told to stop."""

import json
from collections.abc import Iterator
from typing import Any

import structlog
from pydantic import ValidationError

from actors.runtime.base.failures import describe_for_users, is_data, is_timeout, is_transient
from actors.runtime.base.storage import Bucket
from actors.runtime.jobs.backoff import Backoff
from actors.runtime.jobs.batch import Batch, check_progress
from actors.runtime.jobs.claim import Claim
from actors.runtime.jobs.context import JobContext
from actors.runtime.jobs.kinds import Kind, Start
from actors.runtime.jobs.leaving import Leaving
from actors.runtime.jobs.params import Params, sentence
from actors.runtime.jobs.percent import percent
from actors.runtime.jobs.run import Run
from actors.runtime.jobs.session import Session
from actors.runtime.jobs.verdicts import Interrupted, Permanent, Snooze, Transient, Verdict
from sql.states import COMPLETED

log = structlog.get_logger("longhaul.job")

DONE = object()  # the generator's end


class Loop:
    def __init__(self, claim: Claim, kind: Kind, place: JobContext) -> None:
        self.claim = claim
        self.kind = kind
        self.place = place
        self.limit = self.batch_size = self.setting("BATCH_SIZE")
        self.throttle = self.setting("THROTTLE_MS") / 1000
        self.leaving = Leaving(self)
        self.backoff = Backoff(self)
        self.bad_row: tuple[Batch, str] | None = None  # and why it failed; skipped in the next step
        self.snooze: Snooze | None = None  # obeyed in the next step
        self.session = Session(place.engine, place.waits, place.beats)
        self.current: Run[Any] | None = None
        self.batches: Iterator[Batch] = iter(())

    def setting(self, name: str) -> int:
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
        """What happens to the job after this error? The kind is asked first."""
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
        if self.leaving.told_to_stop():
            return True
        if self.bad_row:
            # Taken out first: if the commit's response is lost, the saved cursor says whether it is still to do.
            row, self.bad_row = self.bad_row, None
            self._pass_over(*row)
            return False
        batch = self._next_batch()
        if batch is None:
            self.leaving.leave(COMPLETED, "completed")
            return True
        self.backoff.failures = 0
        self.limit = min(self.limit * 2, self.batch_size)
        self._batch_done(batch)
        return False

    def _next_batch(self) -> Batch | None:
        """One batch and its checkpoint in one transaction. None: nothing is left."""
        run = self._open()
        run.limit, run.current_batch = self.limit, None
        batch: Any = next(self.batches, DONE)
        if batch is DONE:
            if self.session.is_open:  # the kind wrote after its last batch
                self.session.commit(self.claim)
            return None
        check_progress(self.kind.name, batch, self.claim.cursor or {})
        self.session.checkpoint(self.claim, batch)
        run.cursor = batch.cursor
        return batch  # type: ignore[no-any-return]

    def _open(self) -> Run[Any]:
        """At the start and after a failure: a connection, and the kind's generator from the saved cursor."""
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
        """Counts if the start did not. If this times out too, the total stays unknown."""
        if self.claim.total is not None or self.kind.count is None:
            return
        with self.session.transaction(self.claim) as connection:
            try:
                with connection.begin_nested():
                    start = Start(connection, self.claim.business_id, self.place.settings)
                    total = self.kind.count(start, params)
            except Exception as error:
                if not is_timeout(error):
                    raise
            else:
                self.claim.set_total(connection, total)

    def close(self) -> None:
        """Ends the generator and releases the connection; what was not committed is rolled back."""
        batches, self.batches, self.current = self.batches, iter(()), None
        try:
            if hasattr(batches, "close"):
                batches.close()
        except Exception as error:  # in the kind's own cleanup: its writes are rolled back anyway
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
        if self.throttle:
            self.place.stopping.wait(self.throttle)

    def _narrow_down(self, failed: Batch, error: str) -> None:
        """Halves the batch that failed on its data, down to the one row that does."""
        self.session.wait = None  # the next transaction has its own
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
