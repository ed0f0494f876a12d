"""SIGTERM and SIGHUP: noticed at once, obeyed once."""

import inspect
import signal
from threading import Event, Lock
from types import FrameType
from typing import Any


def install_stop_handler() -> Event:
    """Puts our handler of SIGTERM and SIGHUP before Dramatiq's; returns the event that it sets.

    Jobs notice it at once, not up to a second later. Repeats are ignored, even of a signal that came before this call:
    the platform signals every process and Dramatiq's parent forwards it, and Dramatiq would exit mid-batch on the
    second one. A repeat may interrupt the handler itself at any line: an Event that is set within its own set() would
    deadlock, hence the lock in front, which is acquired in one step and never released.
    """
    stopping, first = Event(), Lock()
    dramatiq_handler: Any = signal.getsignal(signal.SIGTERM)

    def still_running() -> bool:
        return bool(inspect.getclosurevars(dramatiq_handler).nonlocals["running"])

    def stop(number: int, frame: FrameType | None) -> None:
        if not first.acquire(blocking=False):
            return
        stopping.set()
        if still_running():
            dramatiq_handler(number, frame)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    if not still_running() and first.acquire(blocking=False):
        stopping.set()
    return stopping
