"""Amounts of money as people and programs write them, read exactly or not at all."""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal

from actors.receipts.currencies import MINOR_UNITS, Says, agree, signs
from actors.receipts.plain import plain

MAX_AMOUNT = Decimal("999999999999.99")  # numeric(14,2)
STORED_DECIMALS = 2
MAX_LENGTH = 100  # characters
_NUMBER_HERE = "\x00"

Written = str | int | float | Decimal  # text, or a number of JSON

# A point after a letter belongs to an abbreviation: `Rs.50`.
_NUMBER = re.compile(r"(?:(?<![^\W\d_])(?<!/)[.,])?[0-9](?:[0-9.,' ]*[0-9])?(?:[.,](?![\w.,]))?")
_NO_CENTS = re.compile(r"(?<=\d)([.,])\s?-{1,2}(?!\s?\d)")  # `12,-` and `CHF 12.--`
_INDIAN_END = re.compile(r"(?<=\d) ?/-{1,2}(?!\S)")  # `500/-`
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


@dataclass
class Separators:
    """The amounts of one file, seen one by one: which separators do they prove, and for what?"""

    points: set[str] = field(default_factory=set)  # decimal points
    groups: set[str] = field(default_factory=set)  # separators of thousands
    ungrouped: str | None = None  # the first amount of thousands without a separator
    open: str | None = None  # the first amount with one separator before exactly three digits

    def see(self, written: Written) -> None:
        if not isinstance(written, str):
            with suppress(ArithmeticError):  # beyond all numbers; the line itself will say so
                if Decimal(str(written)) % 1:
                    self.points.add(".")
            return
        try:
            number = _parts(written).number
        except (ValueError, ArithmeticError):
            return
        if _EITHER.fullmatch(number):
            self.open = self.open or written
            return
        last = max(number.rfind("."), number.rfind(","))
        if last >= 0 and number.count(number[last]) == 1:
            self.points.add(number[last])
        if _GROUPED.fullmatch(number):
            self.groups.add(next(c for c in number if not c.isdigit()))
        elif len(re.split("[.,]", number)[0].lstrip("0")) > 3:
            self.ungrouped = self.ungrouped or written

    def doubt(self, separator: str) -> str | None:
        """Why a lone separator before three digits may not be one of thousands; None when it is."""
        if separator in self.points:
            return f"{separator!r} is the decimal point of other amounts here"
        if self.groups and separator not in self.groups:
            return f"other amounts here group their thousands with {min(self.groups)!r}"
        if self.ungrouped is not None and not self.points and not self.groups:
            return f"other amounts here do not group their thousands ({self.ungrouped[:40]})"
        return None

    def explain(self) -> str | None:
        """What was decided where nothing proves it, in a sentence for the owner of the file."""
        if self.open is None or self.points or self.groups or self.ungrouped:
            return None
        return f"Amounts such as {self.open[:40]} are read as thousands: no amount of this file proves otherwise."


NOTHING_PROVEN = Separators()


def read_money(
    written: Written | None,
    *,
    currency: str | None = None,
    default: str | None = None,
    header: Sequence[Says] = (),
    separators: Separators = NOTHING_PROVEN,
) -> Money:
    """`RM 1,234.50`, `(9.90)`, `1.234,50 €`, `50.00-`, `₹1,23,456.00`, or a JSON number.

    `currency` is what a column says, `header` what the amount's own header says, `default` counts when none of them and
    no sign beside the number says any. A lone separator before exactly three digits groups thousands, unless the other
    amounts of the file, or a currency with three decimals, say otherwise.

    ValueError says what was found, for whatever can't be read beyond doubt.
    """
    if written is None or written == "":
        raise ValueError("the amount is missing")
    try:
        if not isinstance(written, str):
            code = agree(header, currency, default)
            return Money(_stored(Decimal(str(written)), code), code)
        parts = _parts(written)
        code = agree([*parts.said, *header], currency, default)
        if parts.minus_last and (MINOR_UNITS[code] == 0 or code == "CNY"):
            raise ValueError("found a dash after the number, which may only say that the number ends there")
        amount = _stored(_decimal(parts.number, code, separators), code)
    except (ValueError, ArithmeticError) as error:
        shown = f"{written[:40]}…" if isinstance(written, str) and len(written) > 40 else written
        raise ValueError(f"amount {str(shown)!r}: {error}") from None
    return Money(-amount if parts.negative and amount else amount, code)


@dataclass(frozen=True, slots=True)
class _Parts:
    number: str  # digits and separators
    said: Sequence[Says] = ()  # what the signs beside it say of the currency
    negative: bool = False
    minus_last: bool = False


def _parts(written: str) -> _Parts:
    if _PLAIN.fullmatch(written):
        return _Parts(written)
    if len(written) > MAX_LENGTH or _NUMBER_HERE in written:
        raise ValueError("expected a number such as 1234.50")
    text = _NO_CENTS.sub(r"\g<1>00", plain(written))
    text = _INDIAN_END.sub("", text)
    match = _NUMBER.search(text)
    if match is None:
        raise ValueError("expected a number such as 1234.50")
    beside = f"{text[: match.start()]}{_NUMBER_HERE}{text[match.end() :]}"
    negative = False
    if "(" in beside or ")" in beside:
        inside = re.fullmatch(r"([^()]*)\(([^()]*)\)([^()]*)", beside)
        if inside is None or _NUMBER_HERE not in inside[2]:
            raise ValueError("found a parenthesis without its other half")
        beside, negative = " ".join(inside.groups()), True
    marks = re.findall("[-+]", beside)
    if len(marks) + negative > 1:
        raise ValueError("found more than one sign of plus or minus")
    if re.search(r"\S [-+] \S", beside):
        raise ValueError("found a dash between spaces, which may only part the number from what stands beside it")
    words = re.sub("[-+]", " ", beside).replace(_NUMBER_HERE, " ").strip()
    said = signs(words)
    if said is None:
        raise ValueError(_not_understood(words))
    return _Parts(match[0], said, negative or marks == ["-"], "-" in beside.partition(_NUMBER_HERE)[2])


def _not_understood(words: str) -> str:
    if _ACCOUNTING.fullmatch(words):
        return f"found {words!r} beside the number; whether that is money in or out depends on the statement"
    return f"found {words[:40]!r} beside the number, expected a currency or nothing"


def _decimal(number: str, code: str, separators: Separators) -> Decimal:
    """The value of digits with separators."""
    if _EITHER.fullmatch(number):
        return _thousands_or_decimals(number, code, separators)
    if _GROUPED.fullmatch(number):
        last = max(number.rfind("."), number.rfind(","))
        is_point = last >= 0 and number.count(number[last]) == 1
        whole, decimals = (number[:last], number[last + 1 :]) if is_point else (number, "")
        return Decimal(f"{re.sub('[^0-9]', '', whole)}.{decimals or 0}")
    if _PLAIN.fullmatch(number):
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
