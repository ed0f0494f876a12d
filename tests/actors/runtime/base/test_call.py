import gc
import subprocess
import sys
import time
from contextvars import ContextVar
from threading import Event
from weakref import ref

import pytest

from actors.runtime.base.call import Call


class Mail:
    """What a function has in hand."""


def test_a_call_that_fails_keeps_nothing_of_what_it_had_in_hand() -> None:
    """Not even until the garbage collector comes by: it may be a large mail."""
    in_hand: list[ref[Mail]] = []

    def fail() -> None:
        mail = Mail()
        in_hand.append(ref(mail))
        raise OSError("no answer")

    gc.disable()
    try:
        call = Call(fail, 30, "test")
        with pytest.raises(OSError, match="no answer") as refusal:
            call.result(lambda: None)
        del refusal
        assert [one() for one in in_hand] == [None]
    finally:
        gc.enable()


def test_a_call_knows_in_whose_name_it_is_made() -> None:
    asked: ContextVar[str] = ContextVar("asked")
    asked.set("dana")
    assert Call(asked.get, 30, "test").result(lambda: None) == "dana"


def test_a_call_has_its_seconds_from_its_beginning_and_who_waits_may_leave_earlier() -> None:
    over, began = Event(), time.monotonic()
    call = Call(over.wait, 0.3, "test")
    with pytest.raises(TimeoutError, match=r"^no response within 0\.3 s$"):
        call.result(lambda: None)
    assert time.monotonic() - began < 30

    def leave() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        Call(over.wait, 60, "test").result(leave)
    over.set()


def test_a_call_that_is_still_under_way_keeps_no_process_from_its_end() -> None:
    program = "import time\nfrom actors.runtime.base.call import Call\nCall(lambda: time.sleep(600), 600, 'test')"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
