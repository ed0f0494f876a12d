"""stdin, stdout and stderr of a command, which may be closed or read by nobody."""

import os
import sys
from contextlib import suppress
from typing import TextIO


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
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def say(line: str, stream: TextIO) -> None:
    """Prints a line; a reader that is gone changes nothing of what was done."""
    try:
        print(line, file=stream, flush=True)
    except (OSError, ValueError):
        give_up(stream)


def give_up(stream: TextIO) -> None:
    """Nobody reads this stream any more: what is left in it, and all that follows, goes nowhere."""
    with suppress(OSError, ValueError):  # else Python fails at its end, when it flushes
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
