"""What a file is made of: rows, and lines that are not rows."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from actors.runtime.base.errors import LonghaulError


class UnreadableFileError(LonghaulError):
    """The whole file can't be read; nothing of it was imported."""


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one row, and its line numbers."""

    first: int
    last: int
    names: tuple[str, ...]
    cells: list[Any]
    encoding: str | None = None  # of a CSV file

    def raw(self) -> dict[str, Any]:
        """The fields as the first release of this importer saw them, for the line's key."""
        if self.encoding is None:
            return dict(zip(self.names, self.cells, strict=True))
        cells = self.cells + [None] * (len(self.names) - len(self.cells))
        if not self.encoding.startswith("utf-"):
            cells = [cell and _as_utf_8(cell, self.encoding) for cell in cells]
        return dict(zip(_lower(self.names), cells, strict=True))


@dataclass(frozen=True, slots=True)
class Unread:
    """Lines that are not a row, and why."""

    first: int
    last: int
    why: str


@lru_cache(maxsize=16)
def _lower(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in names)


def _as_utf_8(text: str, encoding: str) -> str:
    return text.encode(encoding, "replace").decode("utf-8", "surrogateescape")
