"""The head of the mail within a forward: who sent it first, and when. What it says is not what the receipt prints."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

FIRST_LINES = 25  # in which it begins
MOST_LINES = 10  # of it
_FROM = re.compile(r"(?i)^\W*(?:from|מאת)\s*:\W*(?=\w)")
_WORD = re.compile(r"\w")
_HEAD = re.compile(r"(?i)^\W*(?:from|date|sent|subject|to|cc|reply-to|מאת|תאריך|נשלח|נושא|אל|עותק)\W*:")
_SENT = re.compile(r"(?i)^\W*(?:date|sent|תאריך|נשלח)\W*:")


@dataclass(frozen=True)
class First:
    name: str
    address: str
    sent: str  # the line that says it; empty if there is none
    rest: list[str]  # the lines without the head


def first_mail(lines: Sequence[str]) -> First | None:
    """None where no head of a mail stands in the first lines; they must be `plain`."""
    for number, line in enumerate(lines[:FIRST_LINES]):
        if match := _FROM.match(line):
            name, address = _sender(line[match.end() :])
            end = number
            while end < min(len(lines), number + MOST_LINES) and _HEAD.match(lines[end]):
                end += 1
            sent = next((one for one in lines[number:end] if _SENT.match(one)), "")
            return First(name, address.casefold(), sent, [*lines[:number], *lines[end:]])
    return None


def _sender(written: str) -> tuple[str, str]:
    """A name and an address, as in Shop <shop@example.com>. Without a pattern: its time would grow with the cube of the
    line's length.
    """
    opens = written.find("<")
    closes = written.find(">", opens) if opens >= 0 else -1
    address = written[opens + 1 : closes] if closes > opens else ""
    name = written[:opens] if address else written
    last = _WORD.search(name[::-1])
    name = name[: len(name) - last.start()] if last else name
    return name, address or name
