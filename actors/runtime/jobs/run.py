"""What a job's kind sees of the runtime: the run that it is in, and the batches that it hands over."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import Connection

log = structlog.get_logger("longhaul.job")

Cursor = dict[str, Any]


@dataclass
class Batch:
    """A piece of work: the items in hand, where to go on after them, and how many were done."""

    ids: Sequence[int]
    cursor: Cursor
    succeeded: int = 0
    failed: int = 0


@dataclass
class Run:
    """One claim of one job, from its cursor on.

    `connection` is inside the transaction of the batch in hand: whatever a kind writes there is committed
    together with the checkpoint, or not at all.
    """

    job_id: int
    business_id: int
    params: dict[str, Any]
    cursor: Cursor | None
    connection: Connection
    limit: int  # how many items the next batch may have; smaller while looking for one that fails
    current_batch: Batch | None = field(default=None, init=False)

    def take(self, ids: Sequence[int], cursor: Cursor) -> Batch:
        """Says which items the kind works on now, before it does: so that a failure can be pinned on one of them."""
        log.info("batch.start", job_id=self.job_id, first=ids[0], last=ids[-1], items=len(ids))
        self.current_batch = Batch(ids, cursor)
        return self.current_batch
