"""A worker's hold on a job. Every write carries the number of the claim, so that a worker that lost it writes nothing.

Here are all of a run's writes to its job: the claim, the checkpoint, the heartbeat and the end.

Each method works in the caller's transaction, and raises ClaimLost if the claim is no longer held.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sqlalchemy import Connection

from actors.runtime.base.errors import ClaimLost
from actors.runtime.jobs.batch import Batch, Cursor
from actors.runtime.jobs.claim_statements import (
    BEAT,
    CHECKPOINT,
    CLAIM,
    LAST_EVENT,
    LEAVE,
    LOCK,
    READ,
    RELEASE,
    ROW_FAILED,
    SET_LEFT,
    SET_TOTAL,
)
from sql.engine import fetch

MAX_ROW_EVENTS = 100  # per job; failures past that are only counted


@dataclass(frozen=True)
class Left:
    """How a claim ended, as shown in the timeline."""

    status: str
    actor: str
    reason: str | None


@dataclass
class Claim:
    job_id: int
    attempt: int
    worker_id: int
    business_id: int
    params: dict[str, Any]
    cursor: Cursor | None
    processed: int
    total: int | None
    requested: str | None
    failures: int  # of the world outside, in a row, when it was claimed
    refusals: int  # rows that failed since the last success, over all claims
    last_error: str | None
    stats: dict[str, Any]
    _stats_known: dict[str, Any] = field(default_factory=dict, init=False, repr=False)  # as stored in the row

    @classmethod
    def of(cls, job: Mapping[Any, Any]) -> "Claim":
        """From a row of background_jobs."""
        claim = cls(job["id"], *(job[one.name] for one in fields(cls)[1:] if one.init))
        claim._stats_known = dict(claim.stats)
        return claim

    @classmethod
    def acquire(
        cls,
        connection: Connection,
        job_id: int,
        worker_id: int,
        batch_size: int,
        stale_after: int | None = None,
        unchanged_after: int | None = None,
        types: Sequence[str] | None = None,
        most: int | None = None,
    ) -> "Claim | None":
        """None if the job is not queued or has to wait: nothing to do for this message.

        The kind's limits are in seconds; `most` is how many of its jobs one business may run at once.
        """
        values: dict[str, Any] = {"job_id": job_id, "worker_id": worker_id, "batch_size": batch_size}
        values |= {"stale_after": stale_after, "unchanged_after": unchanged_after}
        values |= {"types": None if types is None else list(types), "most": most}
        job = connection.execute(CLAIM, values).mappings().one_or_none()
        return None if job is None else cls.of(job)

    @staticmethod
    def release_unconfirmed(connection: Connection, job_id: int, worker_id: int) -> None:
        """Puts the job back if it is this worker's: for a claim whose outcome is unknown.

        Waits for that claim first: its commit may still be in flight. If another thread of this worker has the
        job, that thread is fenced off and the job continues from its cursor.
        """
        connection.execute(LOCK, {"job_id": job_id})
        connection.execute(RELEASE, {"job_id": job_id, "worker_id": worker_id})

    def reload(self, connection: Connection) -> "Claim":
        """The claim as stored: after a failure, it is unknown whether the last commit took effect.

        Waits for a commit that is still in flight, so nothing else belongs in this transaction.
        """
        return self.of(self._held(connection, READ))

    def checkpoint(self, connection: Connection, batch: Batch, error: str | None = None) -> None:
        """The last statement of a batch's transaction: cursor, counters, heartbeat; reads what was requested."""
        values = {
            "job_id": self.job_id,
            "attempt": self.attempt,
            "cursor": json.dumps(batch.cursor),
            "succeeded": batch.succeeded,
            "failed": batch.failed,
            "error": error,
            "stats": json.dumps(self.stats) if self.stats != self._stats_known else None,
        }
        rows = fetch(connection, CHECKPOINT, values)
        if not rows:
            raise self._lost()
        (row,) = rows
        self._stats_known = dict(self.stats)
        self.requested, self.processed, self.total = row["requested"], row["processed"], row["total"]
        self.refusals, self.last_error = row["refusals"], row["last_error"]
        self.cursor = batch.cursor

    def row_failed(self, connection: Connection, batch: Batch, error: str) -> None:
        """Skips the single row in `batch`, which has failed."""
        self.checkpoint(connection, batch, error)
        row_id = json.dumps(batch.ids[0], default=str)
        details = {"job_id": self.job_id, "row_id": row_id, "error": error, "most": MAX_ROW_EVENTS}
        connection.execute(ROW_FAILED, details)

    def beat(self, connection: Connection, reason: str | None = None) -> None:
        """A heartbeat, with what the job waits for. Without one it is not progress: the stale rule applies."""
        self.requested = self._held(connection, BEAT, reason=reason)["requested"]

    def set_total(self, connection: Connection, total: int) -> None:
        """`total`: what is left to do (everything, at the first claim), including rows that failed."""
        self.total = self._held(connection, SET_TOTAL, total=total)["total"]

    def set_left(self, connection: Connection, left: int) -> None:
        """For a kind that learns while working how many items there are: failed ones are not included."""
        self.total = self._held(connection, SET_LEFT, left=left)["total"]

    def leave(
        self,
        connection: Connection,
        target: str,
        event: str,
        why: str | None,
        *,
        wait: float | None = None,
        code: str | None = None,
        failures: int = 0,
    ) -> "Left":
        """Ends the claim. If a pause or cancel was requested, the job ends as requested."""
        values = {"target": target, "event": event, "who": f"worker:{self.worker_id}", "why": why}
        self._held(connection, LEAVE, **values, wait=wait, code=code, failures=failures)
        return Left(*connection.execute(LAST_EVENT, {"job_id": self.job_id}).one())

    def _held(self, connection: Connection, statement: Any, **values: Any) -> Mapping[Any, Any]:
        values |= {"job_id": self.job_id, "attempt": self.attempt}
        row = connection.execute(statement, values).mappings().one_or_none()
        if row is None:
            raise self._lost()
        return row

    def _lost(self) -> ClaimLost:
        return ClaimLost(f"claim {self.attempt} of job {self.job_id}")
