"""Amounts: what is read, and what is refused rather than guessed."""

from decimal import Decimal

import pytest

from actors.receipts.amounts import Money, read_money
from actors.receipts.separators import Separators


def read(
    written: object, currency: str | None = None, default: str | None = "USD", others: tuple[object, ...] = ()
) -> str:
    separators = Separators()
    for other in others:
        separators.see(other)
    found = read_money(written, currency=currency, default=default, separators=separators)
    return f"{found.amount} {found.currency}"


@pytest.mark.parametrize(
    ("written", "right"),
    [
        ("60.30", "60.30 USD"),
        ("9", "9.00 USD"),
        ("RM9.90", "9.90 MYR"),
        ("RM 1,234.50", "1234.50 MYR"),
        ("$4.95", "4.95 USD"),
        ("-$9.90", "-9.90 USD"),
        ("$-9.90", "-9.90 USD"),
        ("1.007,50 €", "1007.50 EUR"),
        ("12,50", "12.50 USD"),
        ("1,234", "1234.00 USD"),
        ("1.234", "1234.00 USD"),
        ("1,234,567.8", "1234567.80 USD"),
        ("1 234.50", "1234.50 USD"),
        ("1'234.50", "1234.50 USD"),
        ("1’234.50", "1234.50 USD"),
        ("1 234,50", "1234.50 USD"),
        ("+50,00", "50.00 USD"),
        ("₹1,23,456.00", "123456.00 INR"),
        (".50", "0.50 USD"),
        ("5.", "5.00 USD"),
        ("007.50", "7.50 USD"),
        ("12.3400", "12.34 USD"),
        ("999999999999.99", "999999999999.99 USD"),
        ("12,-", "12.00 USD"),
        ("CHF 1'234.--", "1234.00 CHF"),
        ("-0.00", "0.00 USD"),
    ],
)
def test_an_amount_is_read_as_it_is_meant(written: str, right: str) -> None:
    assert read(written) == right


@pytest.mark.parametrize(
    "written",
    ["(12.34)", "($12.34)", "$(12.34)", "( 12,34 )", "（12.34）", "\u221212.34", "\u201312.34", "\u201412,34",
     "－12.34", "12.34-", "12.34 -", "12,34\u2212", "-12.34 $", "$ -12.34",
     "- 12.34",
     "\u200e-12.34", "\u200f-12.34\u00a0$"],
)  # fmt: skip
def test_parentheses_and_every_dash_mean_a_negative_amount(written: str) -> None:
    assert read(written) == "-12.34 USD"


@pytest.mark.parametrize(
    ("written", "right"),
    [
        ("EUR 1,253.10", "1253.10 EUR"),
        ("EUR1253.10", "1253.10 EUR"),
        ("12.41 EUR", "12.41 EUR"),
        ("12.41EUR", "12.41 EUR"),
        ("A$30", "30.00 AUD"),
        ("CAD$ 30", "30.00 CAD"),
        ("$30 CAD", "30.00 CAD"),
        ("$US 30", "30.00 USD"),
        ("12,50 zł", "12.50 PLN"),
        ("50 NIS", "50.00 ILS"),
        ('ש"ח 50', "50.00 ILS"),
        ("50 ש״ח", "50.00 ILS"),
        ("\u200f50.00\u00a0₪", "50.00 ILS"),
        ("R$ 1.234,50", "1234.50 BRL"),
        ("1\u202f234,50\u00a0€", "1234.50 EUR"),
        ("€ 5 EUR", "5.00 EUR"),
        ("￥１００", "100.00 JPY"),
        ("£5", "5.00 GBP"),
        ("руб.50", "50.00 RUB"),
        ("S/.50", "50.00 PEN"),
        ("S/. 50.00", "50.00 PEN"),
        ("US $5", "5.00 USD"),
        ("₹ 1,50,000/-", "150000.00 INR"),
    ],
)
def test_a_sign_or_a_code_beside_the_amount_is_its_currency(written: str, right: str) -> None:
    assert read(written, default="JPY" if "￥" in written else "USD") == right


@pytest.mark.parametrize(
    "written",
    ["12,50 €*", "12.5k", "5 apples", "5 apples 3", "ca. 5", "~5", "5 %", "5 km", "5 ft", "5 cup", "5 all", "5 eur?",
     "USD", "5 DEM", "5 XAU", "5 XTS", "USD 5 EUR", "$5 €", "[5]", "<5>", "5 / 6", "€", "½", "12²", "5#", "RM.50",
     "5m", "1.234,50 €/kg"],
)  # fmt: skip
def test_what_stands_beside_the_number_is_understood_or_the_amount_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="amount"):
        read(written)


@pytest.mark.parametrize("written", ["50.90Cr", "50.90 CR", "5.00 DR", "5.00Dr", "5,00 H", "5,00 S", "C 5", "5 Credit"])
def test_whether_a_mark_of_bookkeeping_is_money_in_or_out_is_not_guessed(written: str) -> None:
    with pytest.raises(ValueError, match="money in or out"):
        read(written)


@pytest.mark.parametrize(
    "written",
    ["", None, "free", "NaN", "Infinity", "1e5", "1.2E+05", "12.345.6", "1,23.4", "12.3456", "1,234.567", "--5", "-5-",
     "(-5)", "-(5)", "(5", "5)", "((5))", "+-5", "1000000000000", "1.2.3", ",", "12 34", "1 23,50", "1,2345.00",
     "0,123,456", "1'23.50", "1,234 567", "٣", "१२", "12:50", "12€50", "1_000", "0x10", "\u202d12.34\u202c",
     "1\u00ad234", "5\n6"],
)  # fmt: skip
def test_what_is_no_amount_is_said(written: str | None) -> None:
    with pytest.raises(ValueError, match="amount"):
        read(written)


@pytest.mark.parametrize(
    ("number", "right"),
    [
        ("4.200", "4.20"),
        ("1e5", "100000.00"),
        ("1.5E3", "1500.00"),
        ("0.30000000000000004", "0.30"),
        ("19.990000000000002", "19.99"),
        ("1234.5000000000002", "1234.50"),
        ("-12.5", "-12.50"),
        ("7", "7.00"),
    ],
)
def test_a_number_of_json_is_what_it_says(number: str, right: str) -> None:
    assert read(Decimal(number)) == f"{right} USD"


@pytest.mark.parametrize(
    "number", ["33.333", "0.125", "1.005", "1e-9", "1e400", "-1e400", "1e-400", "NaN", "Infinity", "33.333333333333336"]
)
def test_a_number_of_json_that_does_not_fit_is_refused_and_never_read_as_thousands(number: str) -> None:
    with pytest.raises(ValueError, match="amount"):
        read(Decimal(number))


@pytest.mark.parametrize("written", ["0.500", "0,500", "00.500", "-0.500", "1234.500"])
def test_three_decimals_that_cannot_be_thousands_are_decimals(written: str) -> None:
    assert abs(Decimal(read(written).split()[0])) in (Decimal("0.50"), Decimal("1234.50"))
    with pytest.raises(ValueError, match="at most 2 decimals"):
        read(written[:-1] + "5")


@pytest.mark.parametrize(
    ("written", "currency", "right"),
    [
        ("12.500", "KWD", "12.50"),
        ("1,234.500", "BHD", "1234.50"),
        ("1.234,500", "TND", "1234.50"),
        ("12.340", "OMR", "12.34"),
        ("1,234", "JPY", "1234.00"),
        ("12.00", "JPY", "12.00"),
        ("1.234.567", "CLP", "1234567.00"),
    ],
)
def test_the_minor_units_of_the_currency_count(written: str, currency: str, right: str) -> None:
    assert read(written, currency=currency) == f"{right} {currency}"
    assert read(written, default=currency) == f"{right} {currency}"


@pytest.mark.parametrize(
    ("written", "currency"),
    [("12,500", "KWD"), ("12.345", "KWD"), ("0.005", "BHD"), ("12.50", "JPY"), ("0.5", "KRW"), ("1,234.5", "VND"),
     ("¥12,000-", "JPY"), ("12-", "KRW")],
)  # fmt: skip
def test_what_the_currency_or_the_table_has_no_room_for_is_refused(written: str, currency: str) -> None:
    with pytest.raises(ValueError, match="amount"):
        read(written, currency=currency)


@pytest.mark.parametrize(
    ("written", "column", "default", "right"),
    [
        ("$5", "MYR", "USD", "MYR"),
        ("$5", None, "MYR", "MYR"),
        ("¥5", "CNY", "USD", "CNY"),
        ("¥5", None, "JPY", "JPY"),
        ("kr 5", "SEK", "USD", "SEK"),
        ("Rs.50", None, "PKR", "PKR"),
        ("£5", "EGP", "USD", "EGP"),
        ("£5", None, "EGP", "EGP"),
        ("£5", None, "USD", "GBP"),
        ("€5", None, "USD", "EUR"),
        ("50 NIS", "ILS", "USD", "ILS"),
    ],
)
def test_a_sign_of_several_currencies_is_what_its_column_or_the_default_says(written, column, default, right) -> None:
    assert read(written, currency=column, default=default).endswith(right)


@pytest.mark.parametrize(
    ("written", "column"),
    [
        ("RM5", "SGD"),
        ("€5", "USD"),
        ("5 EUR", "USD"),
        ("¥5", "USD"),
        ("A$5", "USD"),
        ("50 NIS", "EUR"),
        ("kr 5", "EUR"),
    ],
)
def test_a_sign_or_code_that_disagrees_with_the_currency_column_is_an_error(written: str, column: str) -> None:
    with pytest.raises(ValueError, match=f"the currency is {column}"):
        read(written, currency=column)


@pytest.mark.parametrize("written", ["¥5", "kr 5", "Rs.50", "5 元", "lei 5"])
def test_a_sign_of_several_currencies_alone_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="expected a currency column to say which"):
        read(written)


@pytest.mark.parametrize(
    "others", [("12.50",), ("0.5", "12,50"), (Decimal("1.5"),), ("1,234.50",), ("1,234,567",), ("1 234,50",), ("1234",)]
)
def test_a_point_before_three_digits_is_refused_where_other_amounts_make_it_doubtful(others) -> None:
    with pytest.raises(ValueError, match="before three digits, but"):
        read("1.234", others=others)


@pytest.mark.parametrize(
    "others", [(), ("12",), ("1.234",), ("nonsense 5",), ("12,50",), ("1.234.567",), ("1.234,50",), (5,)]
)
def test_one_point_before_three_digits_groups_thousands_where_nothing_contradicts_it(others) -> None:
    assert read("1.234", others=others) == "1234.00 USD"


def test_a_point_of_dinars_is_refused_where_others_write_a_comma() -> None:
    with pytest.raises(ValueError, match="thousands or KWD's decimals"):
        read("12.500", currency="KWD", others=("1.234,500",))


@pytest.mark.parametrize("written", ["EUR – 12.50", "USD - 50", "50.00 - EUR"])
def test_a_dash_between_spaces_may_be_no_minus(written: str) -> None:
    with pytest.raises(ValueError, match="dash between spaces"):
        read(written)


def test_a_code_that_is_a_word_counts_where_something_else_says_the_same() -> None:
    assert read("ALL 50", currency="ALL") == read("50 ALL", default="ALL") == "50.00 ALL"
    with pytest.raises(ValueError, match="'ALL'"):
        read("ALL 50")


def test_an_amount_is_exact() -> None:
    assert read_money("0.1", default="EUR") == Money(Decimal("0.10"), "EUR")
    assert str(read_money(5, default="EUR").amount) == "5.00"
