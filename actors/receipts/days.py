"""A written day: every day that it may mean, and in which order of its numbers."""

import re
from datetime import date
from enum import StrEnum

from actors.receipts.names import month
from actors.receipts.plain import plain

_MAX_LENGTH = 60  # characters
_NUMBERS = re.compile(r"(\d{1,4})\s*([-/. ])\s*(\d{1,2})\s*\2\s*(\d{1,4})\.?", re.ASCII)
_EIGHT = re.compile(r"\d{8}", re.ASCII)
_NAME = r"([^\W\d_]+)\.?"
_DAY = r"(\d{1,2})(?:st|nd|rd|th|er|º|ª|\.)?"
_YEAR = r"(\d{4}|\d{2})"
_OF = r"[\s./-]*(?:de |del |of )?"
_NAMED = (  # with the groups of year, month and day
    (re.compile(rf"{_DAY}{_OF}{_NAME},?{_OF}{_YEAR}\.?"), (3, 2, 1)),
    (re.compile(rf"{_NAME}[\s./-]*{_DAY}(?:,\s*|[\s./-]+){_YEAR}"), (3, 1, 2)),
    (re.compile(rf"(\d{{4}})[\s./-]*{_NAME}[\s./-]*(\d{{1,2}})\.?"), (1, 2, 3)),
)


class Order(StrEnum):
    """What comes first in a numeric day that does not begin with a four-digit year."""

    DAY_FIRST = "day-first"
    MONTH_FIRST = "month-first"
    YEAR_FIRST = "year-first"  # with two digits


def shortened(written: str) -> str:
    if len(written) > _MAX_LENGTH:
        raise ValueError("expected a day such as 2018-12-31 or 31/12/2018")
    return re.sub(r"\s+", " ", plain(written))


def _is_open(text: str) -> bool:
    """Is it a numeric day, with its year last or with two digits?"""
    return bool(_EIGHT.fullmatch(text) or _NUMBERS.fullmatch(text)) and fixed_day(text) is None


def fixed_day(text: str) -> date | None:
    """A day that begins with a four-digit year."""
    text = re.sub("[年년月월] ?", "-", text).rstrip("日일")
    match = re.fullmatch(r"(\d{4})(\d{2})(\d{2})", text, re.ASCII)
    if match is None:
        numbers = _NUMBERS.fullmatch(text)
        if numbers is None or len(numbers[1]) != 4 or len(numbers[4]) > 2:
            return None
        return _day(numbers[1], numbers[3], numbers[4])
    return _day(*match.groups())


def readings_of(text: str) -> dict[Order, date]:
    """Every order in which a numeric day is a real day; empty if the order is not open."""
    if not _is_open(text):
        return {}
    match = _NUMBERS.fullmatch(text)
    a, b, c = (match[1], match[3], match[4]) if match else (text[:2], text[2:4], text[4:])
    found = {}
    if len(a) <= 2 and len(c) in (2, 4):
        found = {Order.DAY_FIRST: _day(c, b, a), Order.MONTH_FIRST: _day(c, a, b)}
        if len(a) == len(c) == 2:
            found[Order.YEAR_FIRST] = _day(a, b, c)
    return {order: day for order, day in found.items() if day is not None and 1900 <= day.year <= 2100}


def named_day(text: str) -> date | None:
    """A day with the name of its month."""
    for form, (year, month_group, day) in _NAMED:
        match = form.fullmatch(text.casefold())
        if match is not None and (number := month(match[month_group])):
            return _day(match[year], str(number), match[day])
    return None


def _day(year: str, month: str, day: str) -> date | None:
    number = int(year)
    if len(year) <= 2:
        number += 1900 if number >= 70 else 2000
    try:
        return date(number, int(month), int(day))
    except ValueError:
        return None
