"""A piece of work: the items in hand, where to go on after them, and how many were done."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from actors.runtime.base.errors import KindError

Cursor = dict[str, Any]  # as JSON


@dataclass
class Batch:
    ids: Sequence[Any]  # of any type that JSON knows; none, where a page held nothing
    cursor: Cursor
    succeeded: int = 0
    failed: int = 0


def check_progress(kind: str, batch: Any, before: Cursor) -> None:
    """KindError unless it is a batch that moves the cursor: a kind that does neither would run for ever."""
    if not isinstance(batch, Batch):
        raise KindError(f"{kind} yielded {type(batch).__name__}, expected a Batch")
    if not isinstance(batch.cursor, dict):
        raise KindError(f"{kind} yielded the cursor {batch.cursor!r}, expected an object")
    if _same(batch.cursor, before):
        raise KindError(f"{kind} yielded a batch that does not move the cursor: {batch.cursor!r}")


def _same(one: Cursor, other: Cursor) -> bool:
    """As JSON, for that is how they are saved."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
