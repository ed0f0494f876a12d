import gc
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
