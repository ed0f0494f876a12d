"""What a command prints, to a reader who may be gone."""

import os
from contextlib import suppress
from typing import TextIO


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
