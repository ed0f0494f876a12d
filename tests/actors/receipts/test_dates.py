"""Days: what is read, and what is refused rather than guessed."""

from datetime import UTC, date, datetime

import pytest

from actors.receipts.dates import read_date
from actors.receipts.day_order import Rule
from actors.receipts.days import Order

DAY_FIRST = Rule(Order.DAY_FIRST, known=True, strict=True)
MONTH_FIRST = Rule(Order.MONTH_FIRST, known=True, strict=True)
YEAR_FIRST = Rule(Order.YEAR_FIRST, known=True, strict=True)


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
        ("25 / 12 / 2018", (2018, 12, 25)),
        ("2018. 3. 4.", (2018, 3, 4)),
        ("2018年3月4日", (2018, 3, 4)),
        ("05 MAR 2018", (2018, 3, 5)),
        ("05-mar-18", (2018, 3, 5)),
        ("05/March/2018", (2018, 3, 5)),
        ("05MAR2018", (2018, 3, 5)),
        ("Mar 5, 2018", (2018, 3, 5)),
        ("March 5th, 2018", (2018, 3, 5)),
        ("5. März 2018", (2018, 3, 5)),
        ("5 de marzo de 2018", (2018, 3, 5)),
        ("1er mars 2018", (2018, 3, 1)),
        ("5 במרץ 2018", (2018, 3, 5)),
        ("Monday, March 5, 2018", (2018, 3, 5)),
        ("יום שני, 5 במרץ 2018", (2018, 3, 5)),
        ("Fri 19/10/2018", (2018, 10, 19)),
        ("20180304", (2018, 3, 4)),
        ("25122018", (2018, 12, 25)),
        ("31/12/99", (1999, 12, 31)),
        ("31/12/69", (2069, 12, 31)),
        ("2025-01-05+02:00", (2025, 1, 5)),  # the day that is written, wherever it was
        ("2025-01-05Z", (2025, 1, 5)),
        ("\u200f05.03.2018", (2018, 3, 5)),
        ("０５/０３/２０１８", (2018, 3, 5)),
        ("29/02/2024", (2024, 2, 29)),
    ],
)
def test_a_day_is_read_as_it_is_meant(written: str, day: tuple[int, int, int]) -> None:
    assert read_date(written) == datetime(*day, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2018-03-04T05:06:07+02:00", (2018, 3, 4, 3, 6, 7)),
        ("2018-03-04 05:06:07.5", (2018, 3, 4, 5, 6, 7, 500000)),
        ("2018-03-04T05:06Z", (2018, 3, 4, 5, 6)),
        ("20180304T050607Z", (2018, 3, 4, 5, 6, 7)),
        ("19/10/2018 14:35", (2018, 10, 19, 14, 35)),
        ("19.10.2018, 14:35", (2018, 10, 19, 14, 35)),
        ("10/19/2018 02:35:10 PM", (2018, 10, 19, 14, 35, 10)),
        ("4 Mar 2018 12:00 am", (2018, 3, 4, 0, 0)),
    ],
)
def test_a_moment_keeps_its_time(written: str, moment: tuple[int, ...]) -> None:
    assert read_date(written) == datetime(*moment, tzinfo=UTC)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    "written",
    [None, "", "2025-02-30", "31/02/2018", "29/02/2025", "yesterday", "12", "99/99/9999", "0001-01-01", "3012017",
     "202511", "112025", "201813", "43101", "1520121600", "March 2018", "5 March", "03/2018", "2018", "2018-W10-7",
     "1/2/018", "12-31/2025", "2018-31-12", "32/01/2018", "Tue, 5 Mar 2018", "Fri 20/10/2018", "2018-03-04 25:00",
     "2018-03-04 13:00 PM", "2018-03-04 05:06 EST", "5 Foo 2018", "31/12/1899", "2101-01-01", "2018-03-04-05",
     "٠٤/٠٣/٢٠١٨", "04/03/2018 and 05/03/2018"],
)  # fmt: skip
def test_what_is_no_day_is_said(written: str | None) -> None:
    with pytest.raises(ValueError, match="date"):
        read_date(written)


@pytest.mark.parametrize("written", ["25.01.05", "23-01-19", "20/12/05"])
def test_two_digits_that_may_be_the_later_year_are_not_guessed(written: str) -> None:
    with pytest.raises(ValueError, match="it may be"):
        read_date(written)
    a, b, c = (int(part) for part in written.replace("-", ".").replace("/", ".").split("."))
    assert read_date(written, DAY_FIRST).date() == date(2000 + c, b, a)
    assert read_date(written, YEAR_FIRST).date() == date(2000 + a, b, c)


@pytest.mark.parametrize(
    ("rule", "ambiguous", "day", "refused"),
    [
        (DAY_FIRST, "03/04/2018", date(2018, 4, 3), "12/31/2018"),
        (MONTH_FIRST, "03/04/2018", date(2018, 3, 4), "31/12/2018"),
        (MONTH_FIRST, "03042018", date(2018, 3, 4), "31122018"),
        (YEAR_FIRST, "18.03.04", date(2018, 3, 4), "31/12/2018"),
    ],
)
def test_what_the_owner_says_is_held_and_a_day_that_contradicts_it_refused(rule, ambiguous, day, refused) -> None:
    assert read_date(ambiguous, rule).date() == day
    assert read_date("2018-03-04", rule).date() == date(2018, 3, 4)
    with pytest.raises(ValueError, match=f"can't be read {rule.order}"):
        read_date(refused, rule)


@pytest.mark.parametrize("written", ["15 listopada 2024", "15 lis 2024", "3. srp 2024", "3. lip 2024"])
def test_the_name_of_a_month_that_means_another_one_elsewhere_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="date"):
        read_date(written)
