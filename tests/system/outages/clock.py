"""The clock of a Postgres, which can be stepped while it runs: by Debian's faketime, where that is installed.

It steps between 12 s behind the real time and the real time: enough to be seen by watch_clock(). For faketime has two
flaws. A signal that interrupts epoll_wait() finds the real time, so while a session waits, its timeouts come late by as
much as the clock is ahead, and may come early by as much as it is behind. The 15 s that a session may be idle within a
transaction, and all longer limits, must not come at once.

And it allocates memory within signal handlers: a busy session's timeouts crash Postgres once in some ten thousand. So
only a Postgres whose clock will step has this clock, and only where a crash more does no harm.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIBRARIES = Path("/usr/lib")
BEHIND_SECONDS = 12


class Clock:
    def __init__(self, file: Path, *, steps: bool) -> None:
        """If it never `steps`, it is the machine's own."""
        self._file = file
        self._library = next(LIBRARIES.glob("*/faketime/libfaketime.so.1"), None) if steps else None
        self._show(0)

    @property
    def can_step(self) -> bool:
        return self._library is not None

    def step_back(self) -> None:
        self._show(-BEHIND_SECONDS)

    def step_forward(self) -> None:
        self._show(0)

    def _show(self, seconds: int) -> None:
        """To all sessions at once: each of their looks at the time reads this file, which takes some µs."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.chmod(0o644)  # Postgres may run as a user of its own
        new.replace(self._file)

    @contextmanager
    def for_children(self) -> Iterator[None]:
        """Processes that are started inside have this clock. Only the time of day steps, as on a real machine."""
        if self._library is None:
            yield
            return
        changes = {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        os.environ.update(changes)
        try:
            yield
        finally:
            for name in changes:
                del os.environ[name]

    def close(self) -> None:
        self._file.unlink(missing_ok=True)
