"""Printing for commands, even if the reader is gone."""

import os
from contextlib import suppress
from typing import TextIO


def say(line: str, stream: TextIO) -> None:
    """Prints a line; if the reader is gone, the command goes on."""
    try:
        print(line, file=stream, flush=True)
    except (OSError, ValueError):
        give_up(stream)


def give_up(stream: TextIO) -> None:
    """Nobody reads this stream any more: discards what is left in it, and all that follows."""
    with suppress(OSError, ValueError):  # otherwise Python fails at exit, when it flushes
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
