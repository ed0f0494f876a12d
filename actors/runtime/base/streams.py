"""The process's own stdin, stdout and stderr, which may be closed, or full because nobody reads them."""

import atexit
import io
import os
import select
import sys
from contextlib import suppress
from queue import SimpleQueue
from threading import Event, RLock, Thread
from typing import Any

MOST_WAITING = 10_000
DRAIN_SECONDS = 0.5  # for each of the two


class Lines:
    """Writes to a descriptor on a thread of its own, so that nobody who has something to say waits for a reader.

    What is more than 10 000 lines is dropped and counted, until half of them are written. The descriptor may be shared
    with other processes, so it stays as blocking as it was.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._start_anew()
        os.register_at_fork(after_in_child=self._start_anew)

    def _start_anew(self) -> None:
        """A forked process has no threads but one; what waits in its parent is its parent's to write."""
        self._waiting: SimpleQueue[bytes | Event] = SimpleQueue()
        self._thread: Thread | None = None
        self._lost = 0
        self._lock = RLock()  # a signal handler may have something to say in the middle of this

    def put(self, line: bytes) -> None:
        with self._lock:
            if self._is_full():
                self._lost += 1
                return
            if self._thread is not None or self._start():
                self._waiting.put(line)
                return
        if select.select([], [self._number], [], 0)[1]:  # Python is at its end and starts no thread any more
            self._write(line)

    def take_lost(self) -> int:
        """How many lines were dropped, as soon as there is room again to say so; each is told once."""
        with self._lock:
            if not self._lost or self._is_full():
                return 0
            lost, self._lost = self._lost, 0
            return lost

    def flush(self, seconds: float = DRAIN_SECONDS) -> None:
        """Waits until what was put is written, at most so long."""
        if self._thread is not None and not sys.is_finalizing():  # then it is not running any more
            written = Event()
            self._waiting.put(written)
            written.wait(seconds)

    def _is_full(self) -> bool:
        return self._waiting.qsize() >= (MOST_WAITING // 2 if self._lost else MOST_WAITING)

    def _start(self) -> bool:
        self._thread = Thread(target=self._run, args=(self._waiting,), name=f"lines-{self._number}", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._thread = None
            return False
        return True

    def _run(self, waiting: "SimpleQueue[bytes | Event]") -> None:
        while True:
            item = waiting.get()
            if isinstance(item, Event):
                item.set()
            else:
                self._write(item)

    def _write(self, line: bytes) -> None:
        """One line at a time, for then it stays whole beside the lines of other processes."""
        left = memoryview(line)
        with suppress(OSError):  # nobody reads any more; the work goes on
            while left:
                try:
                    left = left[os.write(self._number, left) :]
                except BlockingIOError:  # whoever shares it wants it like this
                    select.select([], [self._number], [])


STDOUT, STDERR = Lines(1), Lines(2)
atexit.register(STDERR.flush)  # STDOUT is flushed by `logging`, whose handler it is


class Printed(io.TextIOBase):
    """A text file in the place of sys.stdout or sys.stderr: what libraries, warnings and tracebacks print."""

    encoding = "utf-8"

    def __init__(self, lines: Lines, number: int) -> None:
        self._lines = lines
        self._number = number

    def write(self, text: str) -> int:
        self._lines.put(text.encode(errors="backslashreplace"))
        return len(text)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def flush(self) -> None:
        """Called by multiprocessing at the very end of a process, after a crash's traceback too."""
        self._lines.flush()


def print_without_waiting() -> None:
    """From now on no print of this process waits for a reader."""
    streams: Any = Printed(STDOUT, 1), Printed(STDERR, 2)
    sys.stdout, sys.stderr = streams


def open_standard_streams() -> None:
    """Opens whichever of the three is closed (`2>&-`), or a socket would get its number, and then our lines."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            else:
                os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
