"""Room in the worker's memory for batches that are large: on its way, a mail of 50 MB takes several times that."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from typing import Any, NamedTuple

from actors.runtime.jobs.run import Run

MOST_AT_ONCE = 2  # in a process; of one business one, so that nobody takes all
PATIENCE_SECONDS = 2.0
SNOOZE_SECONDS = 10.0
FORGET_SECONDS = 30.0  # a job that was refused may come back to another process


class _Turn(NamedTuple):
    """Of a business that was refused."""

    since: float
    seen_at: float


_reading: set[int] = set()  # businesses
_refused: dict[int, _Turn] = {}
_changed = Condition()


@contextmanager
def room_for_large(run: Run[Any]) -> Iterator[None]:
    """First come, first served. Without room, the job gives its thread to those who wait, and tries again."""
    entered = False
    try:
        with _changed:
            entered = _changed.wait_for(lambda: _is_free(run.business_id), PATIENCE_SECONDS)
            if entered:
                _reading.add(run.business_id)
                _refused.pop(run.business_id, None)
            else:
                _refused[run.business_id] = _Turn(_since(run.business_id), time.monotonic())
        if not entered:
            run.snooze(SNOOZE_SECONDS, "other large mails are being read")
        yield
    finally:
        if entered:
            with _changed:
                _reading.discard(run.business_id)
                _changed.notify_all()


def _is_free(business_id: int) -> bool:
    """Is there a place beside those who were refused before and will come back?"""
    now = time.monotonic()
    for other in [other for other, turn in _refused.items() if now - turn.seen_at > FORGET_SECONDS]:
        del _refused[other]
    before = sum(turn.since < _since(business_id) for other, turn in _refused.items() if other not in _reading)
    return business_id not in _reading and len(_reading) + before < MOST_AT_ONCE


def _since(business_id: int) -> float:
    return _refused[business_id].since if business_id in _refused else time.monotonic()
