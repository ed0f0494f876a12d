"""An answer that all callers share for a second, so that a flood costs no more than one caller."""

import time
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

SECONDS = 1.0

Answer = TypeVar("Answer")


class SharedAnswer(Generic[Answer]):
    """The result of `look()` for many threads: one of them looks while the others wait for it.

    A result is kept for a second after the look; so is an exception, which every caller gets.
    """

    def __init__(self, look: Callable[[], Answer]) -> None:
        self._look = look
        self._lock = Lock()
        self._ends = float("-inf")
        self._answer: Answer | None = None
        self._error: Exception | None = None

    def get(self) -> Answer:
        with self._lock:
            if time.monotonic() >= self._ends:
                self._ask()
            if self._error is not None:
                raise self._error.with_traceback(None)
            return self._answer  # type: ignore[return-value]

    def _ask(self) -> None:
        self._answer = self._error = None
        try:
            self._answer = self._look()
        except Exception as error:
            self._error = error
        self._ends = time.monotonic() + SECONDS
