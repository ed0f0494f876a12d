"""One line: which columns it is read from, and when it is refused."""

import json
from decimal import Decimal

import pytest

from service.imports.columns import layout, read_choice
from service.imports.lines import Line, Reader
from service.imports.rows import Row

BASE = {"vendor": "X", "amount": "5", "date": "2018-01-02"}


def read(fields: dict[str, object], columns: str = "", currency: str = "USD") -> Line:
    chosen = read_choice([columns] if columns else [])
    row = Row(1, 1, tuple(fields), list(fields.values()))
    reader = Reader(currency, signed_by_direction=bool(chosen.get("direction")))
    return reader.read(row, layout(row.names, chosen))


def money(fields: dict[str, object], columns: str = "") -> str:
    found = read(fields, columns).money
    return f"{found.amount} {found.currency}"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"vendor": "X", "date": "2018-01-01"}, "amount or total is missing"),
        ({"vendor": "X", "amount": " ", "date": "2018-01-01"}, "amount or total is missing"),
        ({"amount": "1", "date": "2018-01-01"}, "vendor or company is missing"),
        ({"vendor": "X", "amount": "1"}, "date is missing"),
        ({**BASE, "vendor": ["X"]}, "expected text or a number"),
        ({**BASE, "vendor": "X\x00"}, "not UTF-8 text"),
        ({**BASE, "vendor": "X\udcff"}, "not UTF-8 text"),
        ({**BASE, "vendor": "X" * 501}, "expected at most 500 characters"),
        ({**BASE, "vendor": "X\nY"}, "line break"),
        ({**BASE, "vendor": "X\u2028Y"}, "line break"),
        ({**BASE, "date": "2018-01-02\n2018-01-03"}, "line break"),
        ({**BASE, "amount": True}, "expected text or a number"),
        ({**BASE, "amount": {"value": 5}}, "expected text or a number"),
        ({**BASE, "currency": "bucks"}, "currency 'bucks'"),
        ({**BASE, "currency": "¥"}, "CNY or JPY"),
        ({**BASE, "id": "4.58012E+15"}, "a spreadsheet has cut its digits off"),
        ({**BASE, "id": "4,58012E+15"}, "a spreadsheet has cut its digits off"),
        ({**BASE, "id": "1E+17"}, "a spreadsheet has cut its digits off"),
        ({**BASE, "id": Decimal("4.58e15")}, "a spreadsheet has cut its digits off"),
        ({**BASE, "total": "6"}, "found amount 5 and total 6, expected one amount"),
        ({**BASE, "Amount": "6"}, "found amount 5 and Amount 6, expected one amount"),
        ({**BASE, "company": "Y"}, "expected one vendor"),
        ({**BASE, "received_at": "2018-01-03"}, "expected one day"),
        ({**BASE, "Currency": "EUR", "currency": "USD"}, "expected one currency"),
        ({**BASE, "ID": "1", "id": "2"}, "expected one id"),
        ({**BASE, "image": "a.jpg", "pdf": "b.pdf"}, "expected one file"),
        ({**BASE, "Amount (EUR)": "5"}, "expected one amount"),
        ({**BASE, "Gross": "6"}, "expected one amount"),
        ({**BASE, "Original Currency": "EUR"}, "--columns 'currency=Original Currency'"),
        ({**BASE, "id": "N/A"}, "expected an id, or nothing"),
        ({**BASE, "id": "####"}, "expected an id, or nothing"),
        ({**BASE, "id": "-"}, "expected an id, or nothing"),
        ({**BASE, "id": float("nan")}, "expected an id, or nothing"),
        ({**BASE, "vendor": "X\x1b[31m"}, "control character"),
        ({**BASE, "vendor": "X\u202eY"}, "control character"),
        ({**BASE, "debit": "", "credit": "5"}, "that is not an expense"),
        ({"vendor": "X", "Total ALL": "5", "date": "2018-01-02"}, "amount or total is missing"),
    ],
)
def test_a_line_that_cannot_be_read_says_why(fields, says: str) -> None:
    with pytest.raises(ValueError, match=r"expected|missing|UTF-8|spreadsheet|columns|control|expense") as refusal:
        read(fields)
    assert says in str(refusal.value)


@pytest.mark.parametrize(
    "more",
    [{"total": "5.00"}, {"company": "X"}, {"received_at": "02/01/2018"}, {"total": ""}, {"Vendor": None},
     {"description": "Y"}],
)  # fmt: skip
def test_columns_that_say_the_same_or_nothing_do_no_harm(more) -> None:
    assert read(BASE | more) == read(BASE)


@pytest.mark.parametrize(
    "names",
    [
        ("Vendor", "AMOUNT", " Date "),
        ("Merchant", "Total", "Transaction Date"),
        ("Payee", "Total Amount", "Receipt-Date"),
        ("Description", "Amount", "Posting Date"),
        ("Merchant  Name", "grand_total", "received_at"),
        ("שם בית עסק", "סכום", "תאריך"),
        ("\ufeffvendor", "amount", "date"),
    ],
)
def test_common_headers_are_understood_in_any_case_and_with_any_space(names: tuple[str, str, str]) -> None:
    assert read(dict(zip(names, ("X", "5", "2018-01-02"), strict=True))) == read(BASE)


@pytest.mark.parametrize(
    ("header", "right"),
    [("Amount (USD)", "5.00 USD"), ("Amount (EUR)", "5.00 EUR"), ("Total EUR", "5.00 EUR"),
     ("Amount in GBP", "5.00 GBP"), ("Amount [€]", "5.00 EUR"), ("total_ILS", "5.00 ILS"), ("Amount ($)", "5.00 USD")],
)  # fmt: skip
def test_a_currency_in_the_header_is_the_lines(header: str, right: str) -> None:
    fields = {"vendor": "X", header: "5", "date": "2018-01-02"}
    assert money(fields) == right
    code = right.split()[1]
    assert money({**fields, "currency": code}) == right
    if code != "USD":
        with pytest.raises(ValueError, match="the currency is USD"):
            read({**fields, "currency": "USD"})
        with pytest.raises(ValueError, match="expected one currency"):
            read({**fields, header: "RM5"})


def test_a_lines_currency_is_its_own_or_its_signs_or_the_default() -> None:
    assert read({**BASE, "amount": "RM5"}).money.currency == "MYR"
    assert read({**BASE, "amount": "$5"}, currency="CAD").money.currency == "CAD"
    assert read({**BASE, "amount": "5", "currency": "sgd"}).money.currency == "SGD"
    with pytest.raises(ValueError, match="the currency is SGD"):
        read({**BASE, "amount": "RM5", "currency": "sgd"})


@pytest.mark.parametrize(
    ("header", "right"),
    [("Betrag in EUR", "EUR"), ("Betrag EUR", "EUR"), ("EUR", "EUR"), ("Value (in EUR)", "EUR"), ("€", "EUR"),
     ("Value (EUR, gross)", "EUR"), ("Value", "USD")],
)  # fmt: skip
def test_a_currency_in_a_header_that_its_owner_names_is_the_lines(header: str, right: str) -> None:
    assert money({"vendor": "X", header: "5", "date": "2018-01-02"}, f'"amount={header}"') == f"5.00 {right}"


def test_a_flag_of_json_is_a_direction_too() -> None:
    assert money({**BASE, "refunded": False}) == "5.00 USD"
    with pytest.raises(ValueError, match="direction"):
        read({**BASE, "refunded": True})


def test_two_columns_of_directions_that_disagree_are_refused() -> None:
    fields = {**BASE, "Type": "debit", "Dr/Cr": "CR"}
    with pytest.raises(ValueError, match="direction"):
        read(fields)


def test_columns_of_other_names_are_told_by_their_owner() -> None:
    fields = {"Who": "X", "Debit": "5", "When": "2018-01-02", "Key, long": "7", "Amount": "9"}
    line = read(fields, 'vendor=Who,amount=debit,date=WHEN,"id=Key, long"')
    assert (line.vendor, line.source_id, str(line.money.amount)) == ("X", "7", "5.00")


@pytest.mark.parametrize("wrong", ["vendor", "who=X", "vendor=A,vendor=B", "=X"])
def test_a_choice_of_columns_that_makes_no_sense_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="found"):
        read_choice([wrong])


@pytest.mark.parametrize(
    ("column", "word"),
    [("Type", "Debit"), ("Dr/Cr", "DR"), ("debit/credit", "D"), ("Direction", "out"), ("transaction type", "Purchase"),
     ("Soll/Haben", "S"), ("Type", "Groceries"), ("Type", ""), ("Type", "Credit card"), ("Sign", "+"),
     ("Is Refund", "no"), ("Status", "cleared")],
)  # fmt: skip
def test_a_direction_that_agrees_with_the_amount_changes_nothing(column: str, word: str) -> None:
    assert money({**BASE, column: word}) == "5.00 USD"


@pytest.mark.parametrize(
    ("column", "word", "amount"),
    [("Type", "Credit", "5"), ("Dr/Cr", "CR", "5"), ("Direction", "in", "5"), ("Type", "Refund", "5"),
     ("Sign", "-", "5"), ("Soll/Haben", "H", "5"), ("Type", "Debit", "-5"), ("Type", "Credit", "-5"),
     ("Dr/Cr", "XX", "5"), ("Type", "C", "5"), ("Type", "Partial refund", "5"), ("Type", "Chargeback", "5"),
     ("Type", "Credit memo", "5"), ("Type", "Gutschrift", "5"), ("Entry Type", "credit", "5"),
     ("Status", "declined", "5"),
     ("Is Refund", "true", "5"), ("Debit / Credit", "Credit", "5"), ("Cr/Dr Indicator", "CRDT", "5"),
     ("CreditDebit", "C", "5"), ("Debit/Credit Indicator", "CRDT", "5"), ("Af Bij", "Bij", "5"), ("Sign", "NEG", "5"),
     ("Transaction Direction", "in", "5"), ("State", "REVERTED", "5"), ("Payment Status", "Refunded", "5"),
     ("DrCr", "CR", "5"), ("CdtDbtInd", "CRDT", "5"), ("Balance Impact", "Credit", "5"), ("In/Out", "In", "5"),
     ("Income/Expense", "Income", "5"), ("Category", "Refund", "5"), ("Type", "Devolución", "5"),
     ("Type", "Storno", "5"), ("Status", "Denied", "5"), ("Details", "CREDIT", "5"), ("Cr/Dr", "Cr.", "5")],
)  # fmt: skip
def test_a_direction_in_a_column_of_its_own_is_not_ignored_in_silence(column: str, word: str, amount: str) -> None:
    with pytest.raises(ValueError, match=r"direction|debit or credit"):
        read({**BASE, "amount": amount, column: word})
    assert money({**BASE, "amount": amount, column: word}, "direction=") == f"{amount}.00 USD"


def test_a_direction_that_its_owner_names_gives_the_amount_its_sign() -> None:
    assert money({**BASE, "Kind": "Credit"}, "direction=Kind") == "-5.00 USD"
    assert money({**BASE, "Kind": "debit"}, "direction=Kind") == "5.00 USD"
    for wrong in ({"Kind": "?"}, {"Kind": ""}, {"Kind": "Credit", "amount": "-5"}):
        with pytest.raises(ValueError, match=r"debit or credit|minus"):
            read({**BASE, **wrong}, "direction=Kind")


def test_numbers_of_json_are_read_as_numbers() -> None:
    fields = json.loads('{"vendor": 7, "amount": 4.200, "date": 20180102, "id": 12}', parse_float=Decimal)
    line = read(fields)
    assert (line.vendor, str(line.money.amount), line.source_id) == ("7", "4.20", "12")
    assert line.received_at == read(BASE).received_at
    with pytest.raises(ValueError, match="at most 2 decimals"):
        read({**fields, "amount": Decimal("33.333")})
