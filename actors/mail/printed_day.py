"""The day that is printed in a mail, by the importer's own parser; of two readings the one nearest the mail's day."""

import re
from collections.abc import Iterator, Sequence
from datetime import date, timedelta

from actors.mail.verdict import Context
from actors.mail.words import DAY, OTHER_DAY
from actors.receipts.days import Order, fixed_day, named_day, readings_of

EARLIEST = date(1900, 1, 1)
MOST_AHEAD = timedelta(days=2)  # of the mail: time zones
NEAR = timedelta(days=45)  # a day without words counts when it is so near
MAX_LABEL = 40

_DAY = re.compile(
    r"(?<![\w./-])(?:\d{1,4}(?P<s>[-/.])\d{1,2}(?P=s)\d{1,4}(?![\w/-]|\.\d)"
    r"|\d{1,2}(?:st|nd|rd|th)?[ /.-](?:of )?[^\W\d_]{3,12}\.?,?[ /.-](?:\d{4}|\d{2})(?!\w)"
    r"|(?<=: )\d{8}(?!\w)"
    r"|[^\W\d_]{3,12}\.? \d{1,2}(?:st|nd|rd|th)?,? \d{4}(?!\w))"
)


def printed_day(lines: Sequence[str], context: Context, mail_day: date) -> date | None:
    """The first day with words that call it the receipt's; else the only day near the mail's; None: there is none."""
    plain: set[date] = set()
    for label, written in _written(lines):
        day = _nearest(written, context, mail_day)
        if day is None or not is_possible(day, mail_day) or OTHER_DAY.search(label):
            continue
        if DAY.search(label):
            return day
        if mail_day - day <= NEAR:
            plain.add(day)
    return next(iter(plain)) if len(plain) == 1 else None


def is_possible(day: date, mail_day: date) -> bool:
    """As the day of a receipt in a mail of `mail_day`."""
    return EARLIEST <= day <= mail_day + MOST_AHEAD


def _written(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each day as it is written, with the words before it, which may stand in the line above."""
    before = ""
    for line in lines:
        at = 0
        for match in _DAY.finditer(line):
            label = line[at : match.start()].strip()[-MAX_LABEL:]
            yield label or before[-MAX_LABEL:], match[0]
            at = match.end()
        before = "" if at else line


def _nearest(written: str, context: Context, mail_day: date) -> date | None:
    written = written.replace(",", ", ").replace(",  ", ", ")
    readings = readings_of(written)
    if readings and context.dates is not None:
        return readings.get(Order(context.dates))
    known = set(readings.values()) or {day for day in (named_day(written), fixed_day(written)) if day}
    return min(known, key=lambda day: abs(day - mail_day)) if known else None
