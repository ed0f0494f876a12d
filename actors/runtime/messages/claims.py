"""A claim: messages from several queues in one statement, in processing order."""

import random
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import Connection

from sql.engine import autocommitting

CLAIM = """
    SELECT seq, delivery, queue_name, message_id::text, losses, message
    FROM public.claim_messages(%s::integer, %s::text[], %s::integer[], %s::bigint[], %s::integer, %s::integer)
"""


class Claimed(NamedTuple):
    seq: int
    number: int
    queue: str
    message_id: str
    losses: int
    message: str | None


def claim_messages(
    session: Connection, worker_id: int, limits: Mapping[str, int], afters: Mapping[str, int], most: int, lost: int
) -> list[Claimed]:
    """Up to `most` in total and each queue's limit, above the seq in `afters`; plus up to `lost` from dead workers.

    Oldest first within a queue, round robin between queues.
    """
    names = random.sample(list(limits), len(limits))  # no queue is always first, even for a single free thread
    values = (worker_id, names, [limits[name] for name in names], [afters[name] for name in names], most, lost)
    with autocommitting(session) as cursor:
        cursor.execute(CLAIM, values)
        return _in_turn([Claimed(*row) for row in cursor.fetchall()])


def _in_turn(rows: list[Claimed]) -> list[Claimed]:
    found: dict[str, int] = defaultdict(int)
    turns = []
    for row in sorted(rows, key=lambda row: row.seq):
        found[row.queue] += 1
        turns.append((found[row.queue], row.seq, row))
    return [row for _, _, row in sorted(turns, key=lambda turn: turn[:2])]
