"""Amounts and days as people of many countries write them, each with its right value: none may be read wrongly.

The two tables were written down without a look at the parser. A row is `clear` when a person of that country has no
doubt about it; refusing one of those is a nuisance, reading any row wrongly is a fault.
"""

import csv
from datetime import UTC, date
from decimal import Decimal
from pathlib import Path

import pytest
from babel import localedata
from babel.dates import format_date
from babel.numbers import format_currency

from actors.receipts.amounts import read_money
from actors.receipts.currencies import MINOR_UNITS
from actors.receipts.dates import read_date
from actors.receipts.day_order import DEFAULT, Rule
from actors.receipts.days import Order
from actors.receipts.names import LANGUAGES

RULES = {
    "none": DEFAULT,
    "day-first": Rule(Order.DAY_FIRST, known=True, strict=True),
    "month-first": Rule(Order.MONTH_FIRST, known=True, strict=True),
}


def table(name: str) -> list[dict[str, str]]:
    with Path(__file__).with_name(name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def money(row: dict[str, str]) -> str:
    written = Decimal(row["written"]) if row["kind"] == "json" else row["written"]
    try:
        found = read_money(written, currency=row["column"] or None, default=row["default"] or None)
    except ValueError:
        return "refused"
    return f"{found.amount} {found.currency}"


def day(row: dict[str, str]) -> str:
    try:
        return read_date(row["written"], RULES[row["order"]]).astimezone(UTC).date().isoformat()
    except ValueError:
        return "refused"


def right_money(row: dict[str, str]) -> str:
    return "refused" if row["amount"] == "refused" else f"{Decimal(row['amount']):.2f} {row['currency']}"


@pytest.mark.parametrize(
    ("name", "read", "right", "least"),
    [
        ("written_amounts.csv", money, right_money, 300),
        ("written_days.csv", day, lambda row: row["day"], 150),
    ],
)
def test_nothing_is_read_wrongly_and_little_that_is_clear_is_refused(name, read, right, least) -> None:
    rows = table(name)
    read_wrongly = [(row, read(row)) for row in rows if read(row) not in ("refused", right(row))]
    clear = [row for row in rows if row["clear"] == "yes"]
    refused = [row for row in clear if read(row) == "refused"]
    assert len(rows) >= least
    assert len({row["country"] for row in rows}) >= 12
    assert read_wrongly == []
    assert len(refused) <= len(clear) / 10


@pytest.mark.parametrize(
    "currency",
    ["USD", "ILS", "JPY", "KWD", *(pytest.param(one, marks=pytest.mark.scale) for one in ("EUR", "CHF", "SEK", "INR"))],
)
def test_an_amount_in_the_manner_of_any_locale_is_read_rightly_or_refused(currency: str) -> None:
    right = refused = 0
    for locale in localedata.locale_identifiers():
        for amount in map(Decimal, ("12.50", "-9.90", "1234.5", "-1234567.89", "100000")):
            if MINOR_UNITS[currency] == 0 and amount % 1:
                continue
            for form in ("standard", "accounting"):
                written = format_currency(amount, currency, locale=locale, format_type=form)
                try:
                    found = read_money(written, default=currency)
                except ValueError:
                    refused += 1
                else:
                    assert (found.amount, found.currency) == (amount, currency), f"{locale}: {written!r}"
                    right += 1
    assert right > 4 * refused  # mostly dinars with a comma before three decimals


@pytest.mark.parametrize("width", ["long", "full"])
def test_a_day_in_words_in_the_manner_of_any_locale_is_read_rightly_or_refused(width: str) -> None:
    written_on = date(2025, 3, 4)
    read = set()
    for locale in localedata.locale_identifiers():
        written = format_date(written_on, width, locale=locale)
        try:
            found = read_date(written).date()
        except ValueError:
            continue
        assert found == written_on, f"{locale}: {written!r}"
        read.add(locale)
    assert len(read) > 200
    assert width == "full" or read >= set(LANGUAGES)
