"""Room in the worker's memory for batches that are large: a mail of 50 MB takes ten times that on its way."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from typing import Any

from actors.runtime.jobs.run import Run

MOST_AT_ONCE = 2  # in a process; of one business one, so that nobody takes all
PATIENCE_SECONDS = 2.0
SNOOZE_SECONDS = 10.0

_reading: set[int] = set()  # businesses
_changed = Condition()


@contextmanager
def room_for_large(run: Run[Any]) -> Iterator[None]:
    """Without room, the job gives its thread to those who wait, and tries again."""
    if not _enter(run.business_id):
        run.snooze(SNOOZE_SECONDS, "other large mails are being read")
    try:
        yield
    finally:
        with _changed:
            _reading.discard(run.business_id)
            _changed.notify()


def _enter(business_id: int) -> bool:
    with _changed:
        if not _changed.wait_for(lambda: _is_free(business_id), PATIENCE_SECONDS):
            return False
        _reading.add(business_id)
        return True


def _is_free(business_id: int) -> bool:
    return len(_reading) < MOST_AT_ONCE and business_id not in _reading
