"""What the days of a file prove about their order, and how that decides what is read."""

from datetime import date

import pytest

from actors.receipts.dates import read_date
from actors.receipts.day_order import DEFAULT, Evidence, Rule
from actors.receipts.days import Order


def evidence(*written: str) -> Evidence:
    found = Evidence(date(2026, 6, 1))
    for text in written:
        found.see(text)
    return found


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        ((), DEFAULT),
        (("03/04/2018", "2018-03-04", "04/04/2018", "5 Mar 2018", "nonsense"), DEFAULT),
        (("12/31/2025", "12/01/2025"), Rule(Order.MONTH_FIRST, known=True)),
        (("12312025",), Rule(Order.MONTH_FIRST, known=True)),
        (("12/31/25 10:00 AM",), Rule(Order.MONTH_FIRST, known=True)),
        (("31.12.2025",), Rule(Order.DAY_FIRST, known=True)),
        (("31/12/2025", "12/31/2025"), Rule(None, known=True)),
        (("32.01.05",), Rule(Order.YEAR_FIRST, known=True)),
        (("25.01.31",), Rule(year_open=True)),  # read otherwise, it would be yet to come
        (("19.12.25", "25.01.05"), Rule(year_open=True)),
        (("12-01-19",), DEFAULT),
        (("30-12-17",), Rule(Order.DAY_FIRST, known=True)),
        (("25.01.31", "31.12.2024"), Rule(Order.DAY_FIRST, year_open=True)),
        (("15/05/2567",), DEFAULT),
    ],
)
def test_a_file_proves_an_order_both_or_none(written: tuple[str, ...], rule: Rule) -> None:
    assert evidence(*written).rule() == rule


def test_in_a_file_that_proves_both_orders_only_clear_days_are_read() -> None:
    rule = evidence("31/12/2025", "12/30/2025").rule()
    assert read_date("31/12/2025", rule).date() == date(2025, 12, 31)
    assert read_date("12/30/2025", rule).date() == date(2025, 12, 30)
    assert read_date("04/04/2025", rule).date() == date(2025, 4, 4)
    with pytest.raises(ValueError, match="2025-01-12 or 2025-12-01"):
        read_date("12/01/2025", rule)


def test_where_years_may_stand_first_no_two_digits_are_guessed() -> None:
    rule = evidence("19.12.25", "25.01.05").rule()
    assert read_date("31.12.2025", rule).date() == date(2025, 12, 31)
    for written in ("19.12.25", "25.01.05", "12-01-19"):
        with pytest.raises(ValueError, match="it may be"):
            read_date(written, rule)


def test_the_decision_is_told_in_a_sentence() -> None:
    assert evidence("03/04/2018").explain().startswith("Days such as 03/04/2018 are read day-first")
    assert "month-first (12/31/2025)" in evidence("12/31/2025", "12/01/2025").explain()
    assert "skipped" in evidence("31/12/2025", "12/31/2025", "12/01/2025").explain()
