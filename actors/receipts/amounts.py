"""Amounts of money as people and programs write them, read exactly or not at all."""

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from actors.receipts.currencies import MINOR_UNITS, Says, agree, signs
from actors.receipts.plain import plain

MAX_AMOUNT = Decimal("999999999999.99")  # numeric(14,2)
STORED_DECIMALS = 2

Written = str | int | float | Decimal  # text, or a number of JSON

# A point after a letter belongs to an abbreviation: `Rs.50`.
_NUMBER = re.compile(r"(?:(?<![^\W\d_])[.,])?[0-9](?:[0-9.,' ]*[0-9])?(?:[.,](?![\w.,]))?")
_NO_CENTS = re.compile(r"(?<=\d)([.,])\s?-{1,2}(?!\s?\d)")  # `12,-` and `CHF 12.--`
_GROUPED = re.compile(
    r"[1-9]\d{0,2}(?:([ '])\d{3})(?:\1\d{3})*(?:[.,]\d*)?"  # 1 234 567,50
    r"|[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?"  # 1,234,567.50
    r"|[1-9]\d{0,2}(?:\.\d{3})+(?:,\d*)?"  # 1.234.567,50
    r"|[1-9]\d?(?:,\d{2})+,\d{3}(?:\.\d*)?",  # 12,34,567.50
    re.ASCII,
)
_PLAIN = re.compile(r"\d+([.,]\d*)?|[.,]\d+", re.ASCII)
_EITHER = re.compile(r"[1-9]\d{0,2}([.,])\d{3}", re.ASCII)
_ACCOUNTING = re.compile(r"(?i)[cdhs]r?\.?|credit|debit|haben|soll")


@dataclass(frozen=True)
class Money:
    amount: Decimal  # exact, at most two decimals
    currency: str  # ISO 4217


def read_money(
    written: Written | None,
    *,
    currency: str | None = None,
    default: str | None = None,
    points: frozenset[str] = frozenset(),
) -> Money:
    """`RM 1,234.50`, `(9.90)`, `1.234,50 €`, `50.00-`, `₹1,23,456.00`, or a JSON number.

    `currency` is what a column says, `default` counts when neither it nor a sign beside the number says any. `points`
    are the decimal points that other amounts of the same file prove (see `decimal_point`). A lone separator before
    exactly three digits groups thousands, unless they, or a currency with three decimals, say otherwise.

    ValueError says what was found, for whatever can't be read beyond doubt.
    """
    if written is None or written == "":
        raise ValueError("the amount is missing")
    try:
        if not isinstance(written, str):
            code = agree((), currency, default)
            return Money(_stored(Decimal(str(written)), code), code)
        negative, number, said, trailing = _parts(written)
        code = agree(said, currency, default)
        if trailing and (MINOR_UNITS[code] == 0 or code == "CNY"):
            raise ValueError("found a dash after the number, which may only say that the number ends there")
        amount = _stored(_decimal(number, code, points), code)
    except (ValueError, ArithmeticError) as error:
        shown = f"{written[:40]}…" if isinstance(written, str) and len(written) > 40 else written
        raise ValueError(f"amount {str(shown)!r}: {error}") from None
    return Money(-amount if negative and amount else amount, code)


def decimal_point(written: str) -> str | None:
    """The decimal point that this amount proves a file to use: "." or ",". None when it proves none."""
    try:
        number = _parts(written)[1]
    except ValueError:
        return None
    if _EITHER.fullmatch(number):
        return None
    last = max(number.rfind("."), number.rfind(","))
    return number[last] if last >= 0 and number.count(number[last]) == 1 else None


def _parts(written: str) -> tuple[bool, str, list[Says], bool]:
    """Is it negative, its digits and separators, what the signs beside them say of the currency, is a minus last?"""
    if _PLAIN.fullmatch(written):
        return False, written, [], False
    text = _NO_CENTS.sub(r"\g<1>00", plain(written))
    match = _NUMBER.search(text)
    if match is None:
        raise ValueError("expected a number such as 1234.50")
    beside = f"{text[: match.start()]} \x00 {text[match.end() :]}"
    negative = False
    if "(" in beside or ")" in beside:
        inside = re.fullmatch(r"([^()]*)\(([^()]*\x00[^()]*)\)([^()]*)", beside)
        if inside is None:
            raise ValueError("found a parenthesis without its other half")
        beside, negative = " ".join(inside.groups()), True
    marks = re.findall("[-+]", beside)
    if len(marks) + negative > 1:
        raise ValueError("found more than one sign of plus or minus")
    words = re.sub("[-+]", " ", beside).replace("\x00", " ").strip()
    said = signs(words)
    if said is None:
        raise ValueError(_not_understood(words))
    return negative or marks == ["-"], match[0], said, "-" in beside.partition("\x00")[2]


def _not_understood(words: str) -> str:
    if _ACCOUNTING.fullmatch(words):
        return f"found {words!r} beside the number; whether that is money in or out depends on the statement"
    return f"found {words[:40]!r} beside the number, expected a currency or nothing"


def _decimal(number: str, code: str, points: frozenset[str]) -> Decimal:
    """The value of digits with separators."""
    either = _EITHER.fullmatch(number)
    if either is not None:
        point = either[1]
        if MINOR_UNITS[code] == 3:
            if point == ",":
                raise ValueError(f"found one comma before three digits, which may be thousands or {code}'s decimals")
            return Decimal(number)
        if points == {point}:
            raise ValueError(f"found {point!r} before three digits, but it is the decimal point of other amounts here")
        return Decimal(number.replace(point, ""))
    if _GROUPED.fullmatch(number):
        last = max(number.rfind("."), number.rfind(","))
        if last >= 0 and number.count(number[last]) == 1:
            whole, decimals = number[:last], number[last + 1 :]
        else:
            whole, decimals = number, ""
        return Decimal(f"{re.sub('[., ' + chr(39) + ']', '', whole)}.{decimals or 0}")
    if _PLAIN.fullmatch(number):
        return Decimal("0" + number.replace(",", ".") + "0" if number[-1] in ".," else "0" + number.replace(",", "."))
    raise ValueError("expected a number such as 1234.50")


def _stored(amount: Decimal, code: str) -> Decimal:
    """The amount as the table holds it; ValueError when it does not fit there, or has more decimals than the currency.

    A program that computes with binary fractions writes 0.30000000000000004 for 0.30: such noise is dropped.
    """
    if not amount.is_finite():
        raise ValueError("expected a number such as 1234.50")
    if abs(amount) > MAX_AMOUNT:
        raise ValueError(f"expected at most {MAX_AMOUNT}")
    decimals = min(MINOR_UNITS[code], STORED_DECIMALS)
    exact = amount.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_EVEN)
    noise = abs(exact - amount)
    if noise and (noise > abs(amount) * Decimal("1e-9") or -int(amount.as_tuple().exponent) <= 8):
        raise ValueError(f"expected at most {decimals} decimals for {code}" if decimals else f"{code} has no decimals")
    return (exact + 0).quantize(Decimal("0.01"))
