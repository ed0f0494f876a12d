"""Amounts, dates and currencies as people write them."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from service.parsing import parse_amount, parse_currency, parse_date, parse_line


@pytest.mark.parametrize(
    ("written", "amount", "sign"),
    [
        ("60.30", "60.30", ""),
        ("9", "9.00", ""),
        ("RM9.90", "9.90", "RM"),
        ("RM 1,234.50", "1234.50", "RM"),
        ("$4.95", "4.95", "$"),
        ("-9.90", "-9.90", ""),
        ("-$9.90", "-9.90", "$"),
        ("$-9.90", "-9.90", "$"),
        ("1,007.50", "1007.50", ""),
        ("1.007,50 €", "1007.50", "€"),
        ("12,50", "12.50", ""),
        ("1,234", "1234.00", ""),
        ("1.234", "1234.00", ""),
        ("1,234,567.8", "1234567.80", ""),
        ("1 234.50", "1234.50", ""),
        ("1'234.50", "1234.50", ""),
        (".50", "0.50", ""),
        ("5.", "5.00", ""),
        ("999999999999.99", "999999999999.99", ""),
    ],
)
def test_an_amount_is_read_as_it_is_meant(written: str, amount: str, sign: str) -> None:
    assert parse_amount(written) == (Decimal(amount), sign)


@pytest.mark.parametrize(
    "written", ["", None, "free", "NaN", "Infinity", "1e5", "12.345.6", "1,23.4", "12.3456", "--5", "1000000000000",
                "1.2.3", ",", "5 apples 3", "٣"]
)  # fmt: skip
def test_what_is_no_amount_is_said(written: str | None) -> None:
    with pytest.raises(ValueError, match="amount"):
        parse_amount(written or None)


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("19/10/2018", (2018, 10, 19)),
        ("12-01-19", (2019, 1, 12)),
        ("03/04/2018", (2018, 4, 3)),  # ambiguous: day first
        ("2018-03-04", (2018, 3, 4)),
        ("2018/3/4", (2018, 3, 4)),
        ("12/25/2018", (2018, 12, 25)),  # cannot be day first
        ("1/2/18", (2018, 2, 1)),
        ("25.12.2018", (2018, 12, 25)),
        ("05 MAR 2018", (2018, 3, 5)),
        ("05-mar-18", (2018, 3, 5)),
        ("05/March/2018", (2018, 3, 5)),
        ("Mar 5, 2018", (2018, 3, 5)),
        ("20180304", (2018, 3, 4)),
        ("25122018", (2018, 12, 25)),
    ],
)
def test_a_date_is_read_as_it_is_meant(written: str, day: tuple[int, int, int]) -> None:
    assert parse_date(written) == datetime(*day, tzinfo=UTC)


def test_a_moment_keeps_its_time() -> None:
    assert parse_date("2018-03-04T05:06:07+02:00") == datetime(2018, 3, 4, 3, 6, 7, tzinfo=UTC)


@pytest.mark.parametrize("written", [None, "2025-02-30", "31/02/2018", "yesterday", "12", "99/99/9999", "0001-01-01"])
def test_what_is_no_date_is_said(written: str | None) -> None:
    with pytest.raises(ValueError, match="date"):
        parse_date(written)


def test_a_currency_is_a_code_or_a_sign_that_has_only_one_meaning() -> None:
    assert [parse_currency(written) for written in ("eur", "USD", "RM", "€")] == ["EUR", "USD", "MYR", "EUR"]
    for written in ("$", "EURO", "", "E1R"):
        with pytest.raises(ValueError, match="currency"):
            parse_currency(written)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"vendor": "X", "date": "2018-01-01"}, "amount or total is missing"),
        ({"vendor": "X", "amount": " ", "date": "2018-01-01"}, "amount or total is missing"),
        ({"amount": "1", "date": "2018-01-01"}, "vendor or company is missing"),
        ({"vendor": "X", "amount": "1"}, "date is missing"),
        ({"vendor": ["X"], "amount": "1", "date": "2018-01-01"}, "expected text or a number"),
        ({"vendor": "X\x00", "amount": "1", "date": "2018-01-01"}, "no text in UTF-8"),
        ({"vendor": "X\udcff", "amount": "1", "date": "2018-01-01"}, "no text in UTF-8"),
        ({"vendor": "X" * 501, "amount": "1", "date": "2018-01-01"}, "expected at most 500 characters"),
        ({"vendor": "X", "amount": True, "date": "2018-01-01"}, "expected text or a number"),
        ({"vendor": "X", "amount": "1", "date": "2018-01-01", "currency": "bucks"}, "currency 'bucks'"),
    ],
)
def test_a_line_that_cannot_be_read_says_why(fields, says: str) -> None:
    with pytest.raises(ValueError, match=r"expected|missing|UTF-8") as refusal:
        parse_line(fields, "USD")
    assert says in str(refusal.value)


def test_a_lines_currency_is_its_own_or_its_signs_or_the_default() -> None:
    base = {"vendor": "X", "date": "2018-01-01"}
    assert parse_line({**base, "amount": "RM5", "currency": "sgd"}, "USD").currency == "SGD"
    assert parse_line({**base, "amount": "RM5"}, "USD").currency == "MYR"
    assert parse_line({**base, "amount": "$5"}, "CAD").currency == "CAD"
