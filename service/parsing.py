"""Reads one line of an import: amounts, dates and currencies as people write them. ValueError says what was found."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

MAX_TEXT = 500
MAX_AMOUNT = Decimal("999999999999.99")  # numeric(14,2)

# After every separator has become "-". Day first where both readings are possible.
DATE_FORMATS = (
    "%Y-%m-%d",
    "%d-%m-%Y",
    "%d-%m-%y",
    "%m-%d-%Y",
    "%m-%d-%y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%d-%B-%Y",
    "%d-%B-%y",
    "%b-%d-%Y",
    "%B-%d-%Y",
    "%Y%m%d",
    "%d%m%Y",
)
CURRENCY_SIGNS = {"RM": "MYR", "€": "EUR", "£": "GBP", "₪": "ILS", "¥": "JPY", "₹": "INR"}  # "$" is many currencies'


@dataclass(frozen=True)
class Line:
    """A receipt as a line tells it."""

    vendor: str
    amount: Decimal
    currency: str
    received_at: datetime
    source_id: str | None  # the line's own id
    file: str | None  # an image or a PDF, relative to the import file


def parse_line(fields: Mapping[str, Any], default_currency: str) -> Line:
    amount, sign = parse_amount(_first(fields, "amount", "total"))
    currency = _text(fields.get("currency"))
    return Line(
        vendor=_required(_first(fields, "vendor", "company"), "vendor or company"),
        amount=amount,
        currency=parse_currency(currency) if currency else CURRENCY_SIGNS.get(sign, default_currency),
        received_at=parse_date(_first(fields, "date", "received_at")),
        source_id=_text(fields.get("id")),
        file=_first(fields, "image", "pdf", "file", "attachment"),
    )


def parse_amount(value: str | None) -> tuple[Decimal, str]:
    """The amount and the currency sign before or after it ("" if none): `RM 1,234.50`, `-9.90`, `1.234,50 €`."""
    value = _required(value, "amount or total")
    match = re.fullmatch(r"(-?)\s*([^\d\s.,+-]*)\s*(-?)(\d[\d.,' ]*|\.\d+)\s*([^\d\s.,+-]*)", value, re.ASCII)
    if match is None or (match[1] and match[3]):
        raise ValueError(f"amount {value!r}: expected a number such as 1234.50")
    number = _decimal_point(match[4].replace(" ", "").replace("'", ""))
    if number is None:
        raise ValueError(f"amount {value!r}: expected a number with at most 2 decimals")
    amount = Decimal(number) * (-1 if match[1] or match[3] else 1)
    if abs(amount) > MAX_AMOUNT:
        raise ValueError(f"amount {value!r}: expected at most {MAX_AMOUNT}")
    return amount, (match[2] or match[5]).upper()


def _decimal_point(digits: str) -> str | None:
    """`1,234.50` and `1.234,50` as 1234.50; a lone separator before exactly 3 digits groups thousands."""
    for thousands, point in ((",", r"\."), (r"\.", ",")):
        if re.fullmatch(rf"\d{{1,3}}({thousands}\d{{3}})+({point}\d{{1,2}})?|\d*({point}\d{{0,2}})?", digits):
            whole, _, cents = re.sub(thousands, "", digits).replace(",", ".").partition(".")
            return f"{whole or 0}.{cents or 0}"
    return None


def parse_date(value: str | None) -> datetime:
    """Midnight UTC of the day, or the moment itself when the line has a time."""
    value = _required(value, "date")
    moment = _day(value) or _moment(value)
    if moment is None or not 1900 <= moment.year <= 2100:
        raise ValueError(f"date {value!r}: expected a day such as 2018-12-31 or 31/12/2018")
    return moment


def _day(value: str) -> datetime | None:
    days = re.sub(r"[\s/.,-]+", "-", value)
    for form in DATE_FORMATS:
        try:
            found = datetime.strptime(days, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        if 1900 <= found.year <= 2100:  # else eight digits were read the wrong way round
            return found
    return None


def _moment(value: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def parse_currency(value: str) -> str:
    code = CURRENCY_SIGNS.get(value.upper(), value.upper())
    if not re.fullmatch(r"[A-Z]{3}", code, re.ASCII):
        raise ValueError(f"currency {value!r}: expected a code of three letters, such as EUR")
    return code


def _first(fields: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        found = _text(fields.get(name))
        if found is not None:
            return found
    return None


def _text(value: Any) -> str | None:
    """As stripped text, None when there is none. ValueError when Postgres could not store it."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError(f"{str(value)[:40]!r}: expected text or a number")
    text = str(value).strip()
    if len(text) > MAX_TEXT:
        raise ValueError(f"{text[:40]!r}…: expected at most {MAX_TEXT} characters")
    if "\x00" in text or (not text.isprintable() and any("\ud800" <= c <= "\udfff" for c in text)):
        raise ValueError(f"{text[:40]!r}: found bytes that are no text in UTF-8")
    return text or None


def _required(value: str | None, name: str) -> str:
    if value is None:
        raise ValueError(f"{name} is missing")
    return value
