"""The head of the mail within a forward: who sent it first, and when. What it says is not what the receipt prints."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

FIRST_LINES = 25  # in which it begins
MOST_LINES = 10  # of it
_FROM = re.compile(r"(?i)^\W*(?:from|מאת)\s*:\s*\W*(.+?)\W*(?:<([^>]+)>.*)?$")
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
            end = number
            while end < min(len(lines), number + MOST_LINES) and _HEAD.match(lines[end]):
                end += 1
            sent = next((one for one in lines[number:end] if _SENT.match(one)), "")
            return First(match[1], (match[2] or match[1]).casefold(), sent, [*lines[:number], *lines[end:]])
    return None
