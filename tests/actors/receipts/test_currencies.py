"""Currencies in a column of their own, or told by --currency."""

import pytest

from actors.receipts.currencies import MINOR_UNITS, read_currency


@pytest.mark.parametrize(
    ("written", "code"),
    [("eur", "EUR"), ("USD", "USD"), (" Gbp ", "GBP"), ("RM", "MYR"), ("€", "EUR"), ("NIS", "ILS"), ("₪", "ILS"),
     ('ש"ח', "ILS"), ("£", "GBP"), ("zł", "PLN"), ("Kč", "CZK"), ("US$", "USD"), ("HRK", "HRK"), ("EUR\u200f", "EUR")],
)  # fmt: skip
def test_a_currency_is_a_code_or_a_sign_that_has_only_one_meaning(written: str, code: str) -> None:
    assert read_currency(written) == code


@pytest.mark.parametrize(
    "written", ["$", "¥", "kr", "Rs", "EURO", "", "E1R", "ABC", "XAU", "XXX", "XTS", "DEM", "EUR USD"]
)
def test_what_is_no_currency_or_more_than_one_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="currency"):
        read_currency(written)


def test_minor_units_are_those_of_the_standard() -> None:
    assert [MINOR_UNITS[code] for code in ("EUR", "JPY", "KWD", "HUF", "IQD", "CLP", "ISK")] == [2, 0, 3, 2, 3, 0, 0]
