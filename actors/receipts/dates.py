"""Days and moments as people and programs write them, and what a file's days prove about their order."""

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from enum import StrEnum

from actors.receipts.names import month, weekdays
from actors.receipts.plain import plain

_TIME = re.compile(
    r"(?P<day>.+?)(?:T|\s*,\s*|\s+)(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<part>\d{1,9}))?)?"
    r"(?:\s*(?P<half>[AaPp])\.?[Mm]\.?)?\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?",
    re.ASCII,
)
_COMPACT_TIME = re.compile(r"(\d{8})T(\d{2})(\d{2})(\d{2})(Z|[+-]\d{2}:?\d{2})?", re.ASCII)
_DAY_WITH_OFFSET = re.compile(r"(\d{4}-\d{2}-\d{2})(?:Z|[+-]\d{2}:\d{2})", re.ASCII)  # as XML writes it
_NUMBERS = re.compile(r"(\d{1,4})\s*([-/. ])\s*(\d{1,2})\s*\2\s*(\d{1,4})\.?", re.ASCII)
_MAX_LENGTH = 60  # characters
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
    """What stands first in a day of numbers that does not begin with a year of four digits."""

    DAY_FIRST = "day-first"
    MONTH_FIRST = "month-first"
    YEAR_FIRST = "year-first"  # of two digits


@dataclass(frozen=True)
class Rule:
    """How to read a day that can be read in more than one order. None: not at all."""

    order: Order | None = Order.DAY_FIRST
    known: bool = False  # proven by the file or told by its owner: a year is where this says
    strict: bool = False  # told by its owner: a day that reads in another order only is refused
    year_open: bool = False  # years of two digits may stand first in this file


DEFAULT = Rule()


@dataclass
class Evidence:
    """The days of one file, seen one by one: which orders do they prove?

    A day proves an order when no other makes a real day of it. A year of two digits that would be yet to come, if it
    stood first, stands last.
    """

    today: date
    proofs: dict[Order, str] = field(default_factory=dict)  # with the first day that proves it
    year_last: bool = False
    open: str | None = None  # the first day that reads in more than one order
    year_open: bool = False  # a day whose year makes more sense at its start

    def see(self, written: str) -> None:
        try:
            readings = _readings(_without_time(_short(written))[0])
        except ValueError:
            return
        first = readings.get(Order.YEAR_FIRST)
        if first is not None and len(readings) > 1:
            last = [day for order, day in readings.items() if order is not Order.YEAR_FIRST]
            if first > self.today:
                self.year_last = True
                del readings[Order.YEAR_FIRST]
            elif all(day.year < first.year or day > self.today for day in last):
                self.year_open = True
        if len(readings) == 1:
            self.proofs.setdefault(next(iter(readings)), written)
        elif len(set(readings.values())) > 1:
            self.open = self.open or written

    def rule(self) -> Rule:
        open_year = self.year_open and not self.year_last
        if not self.proofs:
            return Rule(known=self.year_last, year_open=open_year)
        order = next(iter(self.proofs)) if len(self.proofs) == 1 else None
        return Rule(order, known=not open_year or order is Order.YEAR_FIRST, year_open=open_year)

    def explain(self) -> str:
        """What the days prove, in a sentence for the owner of the file."""
        if not self.proofs:
            return f"Days such as {self.open} are read day-first: no day of this file proves an order (see --dates)."
        proven = " and ".join(f"{order} ({written})" for order, written in self.proofs.items())
        if len(self.proofs) == 1:
            return f"Days are read as others of this file prove: {proven}."
        return f"Days such as {self.open} are left out, for others of this file prove {proven}; say which with --dates."


def read_date(written: str | None, rule: Rule = DEFAULT) -> datetime:
    """Midnight UTC of the day; the moment itself, UTC unless it says otherwise, when there is a time.

    ValueError when it is no day between 1900 and 2100, or one that `rule` leaves open.
    """
    if not written:
        raise ValueError("the date is missing")
    try:
        text, at = _without_time(_short(written))
        day = _read(text, rule)
        if day is None or not 1900 <= day.year <= 2100:
            raise ValueError("expected a day such as 2018-12-31 or 31/12/2018")
    except ValueError as error:
        shown = f"{written[:40]}…" if len(written) > 40 else written
        raise ValueError(f"date {shown!r}: {error}") from None
    return datetime.combine(day, at or time(tzinfo=UTC))


def _read(text: str, rule: Rule) -> date | None:
    """The day, perhaps after the name of its weekday."""
    if not text[:1].isdigit() and (day := _named(text)):  # "mar" is March in one language and Tuesday in another
        return day
    allowed, text = _without_weekday(text)
    readings = _readings(text)
    day = _choose(readings, rule) if readings else _named(text) or _fixed(text)
    if day is not None and allowed and day.weekday() not in allowed:
        raise ValueError("it is not on the weekday that stands before it")
    return day


def _without_weekday(text: str) -> tuple[set[int], str]:
    """The weekdays that the name before a day may mean (empty: there is none), and the day's text."""
    if not text[:1].isdigit():
        folded = text.casefold()
        for name, numbers in weekdays():
            if folded.startswith(name) and not folded[len(name) : len(name) + 1].isalpha():
                return numbers, folded[len(name) :].lstrip(". ,")
    return set(), text


def _short(written: str) -> str:
    if len(written) > _MAX_LENGTH:
        raise ValueError("expected a day such as 2018-12-31 or 31/12/2018")
    return re.sub(r"\s+", " ", plain(written))


def _without_time(text: str) -> tuple[str, time | None]:
    """The day's text and its time, if it has one."""
    if compact := _COMPACT_TIME.fullmatch(text):
        day, hour, minute, second, zone = compact.groups()
        return day, time(int(hour), int(minute), int(second), tzinfo=_zone(zone))
    if bare := _DAY_WITH_OFFSET.fullmatch(text):
        return bare[1], None  # the day that is written, wherever on earth it was
    match = _TIME.fullmatch(text)
    if match is None:
        return text, None
    hour = int(match["hour"])
    if match["half"]:
        if not 1 <= hour <= 12:
            raise ValueError("expected an hour from 1 to 12 before AM or PM")
        hour = hour % 12 + (12 if match["half"] in "Pp" else 0)
    part = int((match["part"] or "0").ljust(6, "0")[:6])
    return match["day"], time(hour, int(match["minute"]), int(match["second"] or 0), part, _zone(match["zone"]))


def _zone(written: str | None) -> timezone:
    if written in (None, "Z", "UTC", "GMT"):
        return UTC
    digits = written[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if written[0] == "-" else offset)


def _is_open(text: str) -> bool:
    """Is it a day of numbers only, with its year last or of two digits?"""
    return bool(_EIGHT.fullmatch(text) or _NUMBERS.fullmatch(text)) and _fixed(text) is None


def _fixed(text: str) -> date | None:
    """A day that begins with a year of four digits."""
    text = re.sub("[年년月월] ?", "-", text).rstrip("日일")
    match = re.fullmatch(r"(\d{4})(\d{2})(\d{2})", text, re.ASCII)
    if match is None:
        numbers = _NUMBERS.fullmatch(text)
        if numbers is None or len(numbers[1]) != 4 or len(numbers[4]) > 2:
            return None
        return _day(numbers[1], numbers[3], numbers[4])
    return _day(*match.groups())


def _readings(text: str) -> dict[Order, date]:
    """Every order in which a day of numbers is a real day; none when it is not open."""
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


def _choose(readings: dict[Order, date], rule: Rule) -> date | None:
    if rule.strict:
        if readings and rule.order not in readings:
            raise ValueError(f"it can't be read {rule.order}, as the days of this file are said to be")
        return readings.get(rule.order) if rule.order else None
    if rule.known and rule.order is not Order.YEAR_FIRST and len(readings) > 1:
        readings = {order: day for order, day in readings.items() if order is not Order.YEAR_FIRST}
    days = set(readings.values())
    if len(days) <= 1:
        return next(iter(days), None)
    chosen, first = readings.get(rule.order) if rule.order else None, readings.get(Order.YEAR_FIRST)
    if chosen is None or (first is not None and chosen != first and (rule.year_open or first.year > chosen.year)):
        several = " or ".join(sorted(day.isoformat() for day in days))
        raise ValueError(f"it may be {several}; say which with --dates")
    return chosen


def _named(text: str) -> date | None:
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
