"""A piece of work: its items, where to continue after them, and how many were done."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from actors.runtime.base.errors import KindError

Cursor = dict[str, Any]  # as JSON


@dataclass
class Batch:
    ids: Sequence[Any]  # of any JSON type; empty if a page held nothing
    cursor: Cursor
    succeeded: int = 0
    failed: int = 0


def check_progress(kind: str, batch: Any, before: Cursor) -> None:
    """KindError unless it is a batch that moves the cursor: otherwise the kind would run forever."""
    if not isinstance(batch, Batch):
        raise KindError(f"{kind} yielded {type(batch).__name__}, expected a Batch")
    if not isinstance(batch.cursor, dict):
        raise KindError(f"{kind} yielded the cursor {batch.cursor!r}, expected an object")
    if _same(batch.cursor, before):
        raise KindError(f"{kind} yielded a batch that does not move the cursor: {batch.cursor!r}")


def _same(one: Cursor, other: Cursor) -> bool:
    """Compares as JSON, because they are saved as JSON."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
