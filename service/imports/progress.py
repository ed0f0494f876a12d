"""The progress bar of an import: only on a terminal; it never disturbs the work."""

import sys
from contextlib import suppress
from types import TracebackType
from typing import Any

from tqdm import tqdm

from service.console import give_up


class Progress:
    """Counts lines on stderr. If the terminal is gone, the bar ends but the import continues."""

    def __init__(self, name: str) -> None:
        self._bar: Any = None
        with suppress(OSError, ValueError):
            if sys.stderr is not None and sys.stderr.isatty():
                self._bar = tqdm(unit=" lines", desc=name, file=sys.stderr)

    def at(self, line: int) -> None:
        if self._bar is not None:
            try:
                self._bar.update(line - self._bar.n)
            except (OSError, ValueError):
                self._bar = None
                give_up(sys.stderr)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        if self._bar is not None:
            try:
                self._bar.close()
                sys.stderr.flush()  # tqdm hides a write that failed
            except (OSError, ValueError):
                give_up(sys.stderr)
