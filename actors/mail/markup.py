"""Receipts in the words of schema.org: an Order or an Invoice, as JSON-LD or microdata in a mail's HTML."""

import re
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any

from actors.mail.page import Item
from actors.mail.verdict import Found
from actors.receipts.amounts import Money, read_money
from actors.receipts.currencies import MINOR_UNITS

_TYPES = {"Order", "Invoice"}
_PAID_NOW = {"", "OrderProcessing", "OrderPaymentDue", "PaymentComplete", "PaymentAutomaticallyApplied", "PaymentDue"}
_PAID_NOW |= {"Processing", "Paid", "Complete"}
_TOTALS = ("totalPaymentDue", "total", "price")
_DAYS = ("orderDate", "dateIssued", "paymentDate", "dateCreated")
_VENDORS = ("merchant", "seller", "broker", "provider")
_MACHINE = re.compile(r"-?\d+(\.\d{1,2})?", re.ASCII)


class UnclearError(ValueError):
    """The markup says several things."""


def read_markup(items: Iterable[Item]) -> Found | None:
    """The one order or invoice; None when there is none that says its total. UnclearError when two disagree."""
    found = [one for item in items if _is_receipt(item) and (one := _read(item))]
    if len({one.money for one in found}) > 1:
        raise UnclearError
    return found[0] if found else None


def _is_receipt(item: Item) -> bool:
    """Not one that tells of a parcel on its way, a return, or a payment that is overdue."""
    types = item.get("@type")
    names = {str(name).rpartition("/")[2] for name in (types if isinstance(types, list) else [types])}
    if not names & _TYPES:
        return False
    statuses = (str(item.get(name) or "").rpartition("/")[2] for name in ("orderStatus", "paymentStatus"))
    return all(status in _PAID_NOW for status in statuses)


def _read(item: Item) -> Found | None:
    money = next((money for name in _TOTALS if (money := _money(item, item.get(name)))), None)
    if money is None:
        return None
    day = next((day for name in _DAYS if (day := _day(item.get(name)))), None)
    vendor = next((name for key in _VENDORS if (name := _name(item.get(key)))), None)
    return Found(money, day, vendor)


def _money(item: Item, value: Any) -> Money | None:
    """As programs write numbers: with a point, and no thousands."""
    currency = item.get("priceCurrency")
    if isinstance(value, dict):
        currency = value.get("priceCurrency") or value.get("currency") or currency
        value = value.get("price", value.get("value", value.get("minPrice")))
    if not isinstance(value, str | int | float) or isinstance(value, bool) or currency not in MINOR_UNITS:
        return None
    written = str(value).strip()
    try:
        if _MACHINE.fullmatch(written):
            return read_money(Decimal(written), currency=currency)
        money = read_money(written, currency=currency)
    except ValueError:
        return None
    return None if re.search(r"[.,]\d{3}\b", written) else money  # thousands, or decimals?


def _day(value: Any) -> date | None:
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        return None


def _name(value: Any) -> str | None:
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, dict):
        value = value.get("name")
    name = " ".join(value.split()) if isinstance(value, str) else ""
    return name[:200] or None
