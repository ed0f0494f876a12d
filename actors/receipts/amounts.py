"""Amounts of money as people and programs write them, read exactly or not at all."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from actors.receipts.currencies import MINOR_UNITS, Says, agree
from actors.receipts.separators import NOTHING_PROVEN, Separators, Written
from actors.receipts.written_amount import EITHER, GROUPED, PLAIN, split_amount

MAX_AMOUNT = Decimal("999999999999.99")  # numeric(14,2)
STORED_DECIMALS = 2


@dataclass(frozen=True)
class Money:
    amount: Decimal  # exact, at most two decimals
    currency: str  # ISO 4217


def read_money(
    written: Written | None,
    *,
    currency: str | None = None,
    default: str | None = None,
    header: Sequence[Says] = (),
    separators: Separators = NOTHING_PROVEN,
) -> Money:
    """`RM 1,234.50`, `(9.90)`, `1.234,50 €`, `50.00-`, `₹1,23,456.00`, or a JSON number.

    `currency` comes from a column, `header` from the amount's own header; `default` applies if neither they nor a sign
    beside the number give one. A lone separator before exactly three digits groups thousands, unless the other amounts
    of the file, or a currency with three decimals, contradict that.

    ValueError says what was found, if the amount can't be read with certainty.
    """
    if written is None or written == "":
        raise ValueError("the amount is missing")
    try:
        if not isinstance(written, str):
            code = agree(header, currency, default)
            return Money(_stored(Decimal(str(written)), code), code)
        parts = split_amount(written)
        code = agree([*parts.said, *header], currency, default)
        if parts.minus_last and (MINOR_UNITS[code] == 0 or code == "CNY"):
            raise ValueError("found a dash after the number, which may only mark its end")
        amount = _stored(_decimal(parts.number, code, separators), code)
    except (ValueError, ArithmeticError) as error:
        shown = f"{written[:40]}…" if isinstance(written, str) and len(written) > 40 else written
        raise ValueError(f"amount {str(shown)!r}: {error}") from None
    return Money(-amount if parts.negative and amount else amount, code)


def _decimal(number: str, code: str, separators: Separators) -> Decimal:
    """The value of digits with separators."""
    if EITHER.fullmatch(number):
        return _thousands_or_decimals(number, code, separators)
    if GROUPED.fullmatch(number):
        last = max(number.rfind("."), number.rfind(","))
        is_point = last >= 0 and number.count(number[last]) == 1
        whole, decimals = (number[:last], number[last + 1 :]) if is_point else (number, "")
        return Decimal(f"{re.sub('[^0-9]', '', whole)}.{decimals or 0}")
    if PLAIN.fullmatch(number):
        whole, _, decimals = number.replace(",", ".").partition(".")
        return Decimal(f"{whole or 0}.{decimals or 0}")
    raise ValueError("expected a number such as 1234.50")


def _thousands_or_decimals(number: str, code: str, separators: Separators) -> Decimal:
    """The value of `1.234`: one separator before exactly three digits."""
    separator = next(c for c in number if not c.isdigit())
    if MINOR_UNITS[code] == 3:
        if separator == "," or separators.points == {","} or "." in separators.groups:
            raise ValueError(f"found {separator!r} before three digits, which may be thousands or {code}'s decimals")
        return Decimal(number)
    if doubt := separators.doubt(separator):
        raise ValueError(f"found {separator!r} before three digits, but {doubt}")
    return Decimal(number.replace(separator, ""))


def _stored(amount: Decimal, code: str) -> Decimal:
    """The amount as stored in the table; ValueError if it does not fit, or has more decimals than the currency.

    Programs that compute in binary floating point write 0.30000000000000004 for 0.30: this noise is removed.
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
