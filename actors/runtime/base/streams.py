"""The process's stdin, stdout and stderr, which may be closed, or full because nobody reads them."""

import atexit
import io
import os
import select
import sys
import time
from contextlib import suppress
from queue import SimpleQueue
from threading import Event, RLock, Thread
from typing import Any

MOST_WAITING, MOST_BYTES = 10_000, 20_000_000
DRAIN_SECONDS = 0.5  # for each of the two
COLLECT_SECONDS = 0.005  # lines that come together wake the writer once: each time, it takes the interpreter's lock


class Lines:
    """Writes to a descriptor on its own thread, so that nobody who writes waits for a reader.

    Beyond 10 000 waiting lines or 20 MB, lines are dropped and counted until half are written. The descriptor may be
    shared with other processes, so its blocking mode is left alone.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._start_anew()
        os.register_at_fork(after_in_child=self._start_anew)

    def _start_anew(self) -> None:
        """A forked process has only one thread; lines waiting in its parent are written by the parent."""
        self._waiting: SimpleQueue[bytes | Event] = SimpleQueue()
        self._thread: Thread | None = None
        self._lost = 0
        self._bytes = 0  # that wait
        self._lock = RLock()  # a signal handler may write in the middle of this

    def put(self, line: bytes) -> None:
        with self._lock:
            if self._is_full():
                self._lost += 1
                return
            if self._thread is not None or self._start():
                self._bytes += len(line)
                self._waiting.put(line)
                return
        if select.select([], [self._number], [], 0)[1]:  # Python is exiting and starts no more threads
            self._write(line)

    def take_lost(self) -> int:
        """How many lines were dropped, once there is room to report it; each is reported once."""
        with self._lock:
            if not self._lost or self._is_full():
                return 0
            lost, self._lost = self._lost, 0
            return lost

    def flush(self, seconds: float = DRAIN_SECONDS) -> None:
        """Waits until the lines put so far are written, at most this long."""
        if self._thread is not None and not sys.is_finalizing():  # then the thread no longer runs
            written = Event()
            self._waiting.put(written)
            written.wait(seconds)

    def _is_full(self) -> bool:
        share = 2 if self._lost else 1
        return self._waiting.qsize() >= MOST_WAITING // share or self._bytes >= MOST_BYTES // share

    def _start(self) -> bool:
        self._thread = Thread(target=self._run, args=(self._waiting,), name=f"lines-{self._number}", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._thread = None
            return False
        return True

    def _run(self, waiting: "SimpleQueue[bytes | Event]") -> None:
        """Writes what has come together at once, up to a pipe's limit, within which lines stay whole among other
        processes' lines: after each write, this thread has to wait for the interpreter's lock.
        """
        item: bytes | Event | None = None
        while True:
            if item is None:
                item = waiting.get()
            if isinstance(item, Event):
                item.set()
                item = None
                continue
            if waiting.empty():
                time.sleep(COLLECT_SECONDS)
            lines, item = item, None
            while not waiting.empty():  # nobody else takes any
                item = waiting.get()
                if isinstance(item, Event) or len(lines) + len(item) > select.PIPE_BUF:
                    break
                lines, item = lines + item, None
            self._write(lines)
            with self._lock:
                self._bytes -= len(lines)

    def _write(self, lines: bytes) -> None:
        left = memoryview(lines)
        with suppress(OSError):  # nobody reads any more; work continues
            while left:
                try:
                    left = left[os.write(self._number, left) :]
                except BlockingIOError:  # another process made it non-blocking
                    select.select([], [self._number], [])


STDOUT, STDERR = Lines(1), Lines(2)
atexit.register(STDERR.flush)  # STDOUT is flushed by `logging`, whose handler it is


class Printed(io.TextIOBase):
    """A text file in place of sys.stdout or sys.stderr, for what libraries, warnings and tracebacks print."""

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
        """multiprocessing calls it at the very end of a process, also after a crash's traceback."""
        self._lines.flush()


def print_without_waiting() -> None:
    """From now on, prints of this process never wait for a reader."""
    streams: Any = Printed(STDOUT, 1), Printed(STDERR, 2)
    sys.stdout, sys.stderr = streams


def open_standard_streams() -> None:
    """Opens those of the three that are closed (`2>&-`): otherwise a socket could get the number, and our lines."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            else:
                os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
