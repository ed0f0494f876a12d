"""Days and moments as people and programs write them, read in the order that their file proves or its owner chooses."""

from datetime import UTC, date, datetime, time

from actors.receipts.day_order import DEFAULT, Rule
from actors.receipts.days import Order, fixed_day, named_day, readings_of, shortened
from actors.receipts.names import weekdays
from actors.receipts.times import without_time


def read_date(written: str | None, rule: Rule = DEFAULT) -> datetime:
    """Midnight UTC of the day; if there is a time, that moment, in UTC unless a zone is given.

    ValueError if it is not a day between 1900 and 2100, or if `rule` leaves it open.
    """
    if not written:
        raise ValueError("the date is missing")
    try:
        text, at = without_time(shortened(written))
        day = _read(text, rule)
        if day is None or not 1900 <= day.year <= 2100:
            raise ValueError("expected a day such as 2018-12-31 or 31/12/2018")
    except ValueError as error:
        shown = f"{written[:40]}…" if len(written) > 40 else written
        raise ValueError(f"date {shown!r}: {error}") from None
    return datetime.combine(day, at or time(tzinfo=UTC))


def _read(text: str, rule: Rule) -> date | None:
    """The day, perhaps after the name of its weekday."""
    if not text[:1].isdigit() and (day := named_day(text)):  # "mar" is March in one language and Tuesday in another
        return day
    allowed, text = _without_weekday(text)
    readings = readings_of(text)
    day = _choose(readings, rule) if readings else named_day(text) or fixed_day(text)
    if day is not None and allowed and day.weekday() not in allowed:
        raise ValueError("it is not on the weekday given before it")
    return day


def _without_weekday(text: str) -> tuple[set[int], str]:
    """The weekdays that the name before a day may mean (empty: no name), and the day's text."""
    if not text[:1].isdigit():
        folded = text.casefold()
        for name, numbers in weekdays():
            if folded.startswith(name) and not folded[len(name) : len(name) + 1].isalpha():
                return numbers, folded[len(name) :].lstrip(". ,")
    return set(), text


def _choose(readings: dict[Order, date], rule: Rule) -> date | None:
    if rule.strict:
        if readings and rule.order not in readings:
            raise ValueError(f"it can't be read {rule.order}, the order chosen for this file")
        return readings.get(rule.order) if rule.order else None
    if rule.known and rule.order is not Order.YEAR_FIRST and len(readings) > 1:
        readings = {order: day for order, day in readings.items() if order is not Order.YEAR_FIRST}
    days = set(readings.values())
    if len(days) <= 1:
        return next(iter(days), None)
    chosen, first = readings.get(rule.order) if rule.order else None, readings.get(Order.YEAR_FIRST)
    if chosen is None or (first is not None and chosen != first and (rule.year_open or first.year > chosen.year)):
        several = " or ".join(sorted(day.isoformat() for day in days))
        raise ValueError(f"it may be {several}; choose with --dates")
    return chosen
