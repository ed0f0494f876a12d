"""A kind's view of the runtime: its current run, its transactions and its batches."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from threading import Event
from typing import Any, Generic, TypeVar

import structlog
from sqlalchemy import Connection, Executable

from actors.runtime.base.call import LOOK_SECONDS, Call
from actors.runtime.base.config import Settings
from actors.runtime.base.errors import KindError
from actors.runtime.base.storage import Bucket
from actors.runtime.jobs.batch import Batch, Cursor
from actors.runtime.jobs.claim import Claim
from actors.runtime.jobs.params import Params
from actors.runtime.jobs.session import Session
from actors.runtime.jobs.verdicts import Interrupted, Snooze

log = structlog.get_logger("longhaul.job")

P = TypeVar("P", bound=Params)
Result = TypeVar("Result")

MOST_AHEAD = 1000  # ids that batches() holds in memory
CALL_SECONDS = 15
BEAT_SECONDS = 2  # how often a wait sends a heartbeat

__all__ = ["Batch", "Cursor", "Run"]


class Run(Generic[P]):
    """One claim of one job, from its cursor on.

    The kind opens a transaction with `begin()`; its writes there are committed together with the checkpoint when it
    yields its batch, or not at all. Outside a transaction it may call other services, wait, and snooze.
    """

    def __init__(
        self,
        claim: Claim,
        params: P,
        settings: Settings,
        bucket: Bucket,
        session: Session,
        stopping: Event,
        limit: int,
    ) -> None:
        self.job_id = claim.job_id
        self.business_id = claim.business_id
        self.params = params
        self.settings = settings
        self.bucket = bucket
        self.cursor: Cursor = claim.cursor or {}
        self.stats = claim.stats  # what the kind shows beside the counters; written with the checkpoint
        self.limit = limit  # the next batch's maximum; smaller during the search for a failing item
        self.current_batch: Batch | None = None
        self._claim = claim
        self._session = session
        self._stopping = stopping
        self._bound = {"business_id": self.business_id, "job_id": self.job_id, **params.model_dump()}

    def begin(self) -> Connection:
        """Opens the transaction of the next batch; KindError if one is open."""
        return self._session.begin(self._claim)

    @property
    def connection(self) -> Connection:
        """The open transaction's connection; KindError if none is open."""
        return self._session.connection

    def commit(self) -> None:
        """Ends the transaction without a checkpoint, if this claim still holds the job (for claim, act, result)."""
        self._session.commit(self._claim)

    def set_total(self, left: int) -> None:
        """For a kind that lists its items first: sets, in the open transaction, how many are left."""
        self._claim.set_left(self.connection, left)

    def scope(self, **values: Any) -> dict[str, Any]:
        """The values to bind to statements: the job, its business and its params, and those given here.

        A list of numbers becomes one literal, '{1,2,3}', which costs a fraction of a list of 50 parameters.
        """
        bound = {**self._bound, **values}
        for name, value in values.items():
            if isinstance(value, list | tuple) and set(map(type, value)) <= {int}:
                bound[name] = f"{{{','.join(map(str, value))}}}"
        return bound

    def take(self, ids: Sequence[Any], cursor: Cursor) -> Batch:
        """Announces which items the kind is about to process, so that a failure can be traced to one of them."""
        first, last = (ids[0], ids[-1]) if ids else (None, None)
        log.info("batch.start", job_id=self.job_id, first=first, last=last, items=len(ids))
        self.current_batch = Batch(ids, cursor)
        return self.current_batch

    def batches(self, query: Executable, name: str = "last_id", **values: Any) -> Iterator[Batch]:
        """Batches of the ids that `query` finds, in order, each in an open transaction.

        The query binds :last_id (or `name`) and :limit, beside `scope()` and the values given here. Ids are read ahead,
        so the work must repeat the query's own condition: a row may have changed since.
        """
        last_id = self.cursor.get(name, 0)
        ahead: deque[Any] = deque()
        while True:
            connection = self.begin()
            if not ahead:
                most = max(self.limit, min(MOST_AHEAD, 20 * self.limit))
                found = connection.execute(query, self.scope(**values, **{name: last_id, "limit": most}))
                ahead.extend(found.scalars().all())
            if not ahead:
                return
            ids = [ahead.popleft() for _ in range(min(self.limit, len(ahead)))]
            last_id = ids[-1]
            yield self.take(ids, {name: last_id})

    def wait(self, seconds: float, why: str | None = None) -> None:
        """Waits outside a transaction, with heartbeats; `why` is shown. For more than a few seconds, snooze instead."""
        self._require_outside("wait")
        ends_at = time.monotonic() + seconds
        next_beat = 0.0 if why else ends_at
        while (left := ends_at - time.monotonic()) > 0:
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + BEAT_SECONDS
                self._session.beat(self._claim, why)
            self._end_if_told()
            self._stopping.wait(min(left, LOOK_SECONDS))
        self._end_if_told()

    def call(
        self, function: Callable[..., Result], *arguments: Any, seconds: float = CALL_SECONDS, **named: Any
    ) -> Result:
        """Calls another service: `function(*arguments, **named)` in a separate thread, outside a transaction.

        TimeoutError if it takes longer than `seconds` in total; a stop, a pause or a cancel does not wait for it.
        An abandoned call ends by its own time limits, and its result is ignored.
        """
        self._require_outside("call")  # before it begins
        return self.result(self.submit(partial(function, *arguments, **named), seconds))

    def submit(self, function: Callable[[], Result], seconds: float = CALL_SECONDS) -> Call[Result]:
        """Begins a call whose result() is needed only after the batch in hand; `seconds` count from now."""
        return Call(function, seconds, f"job-{self.job_id}-call")

    def result(self, call: Call[Result]) -> Result:
        """Waits for a submitted call as `call` does."""
        self._require_outside("result")
        return call.result(self._end_if_told)

    def snooze(self, seconds: float, sentence: str) -> None:
        """Ends this run; the job continues in `seconds`, and shows why. Its thread is free until then."""
        raise Snooze(seconds, sentence)

    def _require_outside(self, name: str) -> None:
        if self._session.is_open:
            raise KindError(f"{name}() was called in an open transaction: yield the batch or commit() first")

    def _end_if_told(self) -> None:
        if self._stopping.is_set() or self._claim.requested:
            raise Interrupted
