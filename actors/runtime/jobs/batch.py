"""A piece of work: the items in hand, where to go on after them, and how many were done."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Cursor = dict[str, Any]  # as JSON


@dataclass
class Batch:
    ids: Sequence[Any]  # of any type that JSON knows; none, where a page held nothing
    cursor: Cursor
    succeeded: int = 0
    failed: int = 0
