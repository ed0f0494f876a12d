"""A call of another service, in a thread of its own, so that nobody has to wait for a service that hangs."""

import time
from collections.abc import Callable
from contextvars import copy_context
from threading import Event, Thread
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")

LOOK_SECONDS = 0.1  # how often a wait checks whether it should end


class Call(Generic[Result]):
    """Begins with its construction. One that is abandoned ends by its own time limits, and its result is ignored."""

    def __init__(self, function: Callable[[], Result], seconds: float, name: str) -> None:
        self._function = function
        self._seconds = seconds
        self._ends_at = time.monotonic() + seconds
        self._ended = Event()
        self._outcome: tuple[Any, BaseException | None] = (None, None)
        Thread(target=copy_context().run, args=(self._work,), name=name, daemon=True).start()

    def _work(self) -> None:
        try:
            self._outcome = (self._function(), None)
        except BaseException as error:
            self._outcome = (None, error)
        self._ended.set()

    def result(self, look: Callable[[], None]) -> Result:
        """Its result, or its error; to be asked once. TimeoutError if it takes too long in total; `look` may end the
        wait by raising.
        """
        while not self._ended.wait(LOOK_SECONDS):
            look()
            if time.monotonic() >= self._ends_at:
                raise TimeoutError(f"no response within {self._seconds:g} s")
        result, error = self._outcome
        if error is None:
            return result  # type: ignore[no-any-return]
        self._outcome = (None, None)
        try:
            raise error
        finally:
            del error  # its traceback leads here, and to all that the function had in hand
