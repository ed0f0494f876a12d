"""Which column of a CSV file, or key of a JSON object, holds what."""

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from actors.receipts.currencies import Says, sign, signs
from actors.receipts.plain import plain

# Field → its names, in tiers: a later tier counts only if the earlier ones are absent or empty. All names in a tier
# mean the same, so if two disagree on a line, the line is unreadable.
NAMES: dict[str, tuple[tuple[str, ...], ...]] = {
    "vendor": (
        ("vendor", "company", "merchant", "payee", "supplier", "vendor name", "company name", "merchant name",
         "payee name", "supplier name", "shop", "store", "בית עסק", "שם בית עסק", "שם בית העסק", "ספק", "שם ספק"),
        ("description", "transaction description", "narrative", "תיאור"),
        ("name",),
    ),
    "amount": (
        ("amount", "total", "total amount", "amount total", "grand total", "transaction amount", "amount paid",
         "gross", "gross amount", "amount gross", "סכום", "סה\"כ", "סכום כולל"),
    ),
    "date": (
        ("date", "received at", "transaction date", "receipt date", "purchase date", "expense date", "date of purchase",
         "תאריך", "תאריך עסקה", "תאריך העסקה"),
        ("posting date", "posted date", "post date", "booking date", "completed date", "date completed"),
    ),
    "currency": (("currency", "currency code", "ccy", "מטבע"),),
    "id": (("id",),),
    "file": (("image", "pdf", "file", "attachment"),),
    "direction": (("direction", "transaction direction", "soll/haben", "s/h", "d/c", "c/d", "af bij", "sign"),
                  ("type", "transaction type", "entry type", "kind", "status", "state", "transaction status",
                   "payment status", "category", "transaction", "details", "amount type", "balance impact")),
}  # fmt: skip
REQUIRED = ("vendor", "amount", "date")

# Columns after an amount that may hold digits; in any other column, digits may be the rest of the amount.
NUMBERS = re.compile(
    r".*(balance|tax|vat|fee|tip|quantity|qty|count|rate|net|gross|total|amount|price|miles|number|\bno\b|\bid\b|saldo|יתרה|מע\"מ).*"
)

# Pairs of columns, one of which is filled on each line: money out, and money in.
_PAIRS = (("debit", "credit"), ("debit amount", "credit amount"), ("paid out", "paid in"), ("money out", "money in"),
          ("withdrawal", "deposit"), ("withdrawals", "deposits"), ("חובה", "זכות"))  # fmt: skip
_BOTH = re.compile(
    r"(?=.*(debit|\bdr\b|חובה))(?=.*(credit|\bcr\b|זכות)).*|debitcredit|creditdebit|drcr|crdr|cdtdbtind|in/out|"
    r"income/expense|.*\b(refund|refunded|return)\b.*"
)
_CURRENCY = re.compile(
    r".*(currency|\bcurr?\b|\bccy\b|\biso\b|מטבע|währung|devise|moneda|moeda|valuta|waluta|валюта|通貨|货币|"
    r"para birimi).*"
)

_WITH_CURRENCY = (re.compile(r"(.+?)[ _]?[(\[](.{1,4})[)\]]"), re.compile(r"(.+?)[ _](?:in )?([A-Z]{3}|[^\w ])"))
MAX_COLUMNS = 2000
_MAX_NAME = 100  # characters of a header that are read


@dataclass(frozen=True)
class Layout:
    """The columns of some lines, by position."""

    names: tuple[str, ...]
    tiers: Mapping[str, tuple[tuple[int, ...], ...]]  # field → positions, in tiers; only fields that have some
    header_currency: Mapping[int, list[Says]]  # position of an amount → the currency in its header: `Amount (USD)`
    money_in: tuple[int, ...]  # columns of amounts that are not expenses
    has_currency: bool  # in a column or a header, or --columns says there is none
    doubt: str | None  # a column that must not be ignored and that --columns does not explain

    @cached_property
    def missing(self) -> list[str]:
        return [field for field in REQUIRED if field not in self.tiers]

    @cached_property
    def used(self) -> frozenset[int]:
        return frozenset(position for tiers in self.tiers.values() for tier in tiers for position in tier)


def layout(names: Iterable[str], chosen: Mapping[str, str]) -> Layout:
    """Where each field is among columns with these names; `chosen`: --columns as field → name."""
    names = tuple(names)
    keys = [key_of_name(name) for name in names]
    currencies = {position: said for position, name in enumerate(names) if (said := _amount_with_currency(name))}
    tiers = {}
    for field, known in NAMES.items():
        wanted = ((key_of_name(chosen[field]),),) if field in chosen else known
        found = [[n for n, key in enumerate(keys) if key and key in tier] for tier in wanted]
        if field == "amount" and field not in chosen:
            found[0] = sorted({*found[0], *currencies})
        if field == "direction" and field not in chosen:
            found[0] += [n for n, key in enumerate(keys) if n not in found[0] and _BOTH.fullmatch(key)]
        if any(found):
            tiers[field] = tuple(tuple(tier) for tier in found if tier)
    amounts = [position for tier in tiers.get("amount", ()) for position in tier]
    headers = {n: _amount_with_currency(names[n]) or _currency_of(names[n]) for n in amounts}
    ins = {into for out, into in _PAIRS if out in keys and into in keys}
    money_in = tuple(n for n, key in enumerate(keys) if key in ins and n not in amounts and "direction" not in chosen)
    has_currency = "currency" in tiers or "currency" in chosen or any(headers.values())
    doubt = None if has_currency else _doubt(names, keys)
    return Layout(names, tiers, headers, money_in, has_currency, doubt)


def _doubt(names: tuple[str, ...], keys: list[str]) -> str | None:
    """A column of currencies under a name that is not in NAMES."""
    found = next((name for name, key in zip(names, keys, strict=True) if _CURRENCY.fullmatch(key)), None)
    if found is None:
        return None
    name = found.strip()[:_MAX_NAME]
    return f"found a column {name!r}; say --columns 'currency={name}', or ignore it with --columns currency="


def explain(layout: Layout) -> str:
    """What the header lacks, as a sentence."""
    keys = {key_of_name(name) for name in layout.names}
    if layout.missing == ["amount"]:
        for out, into in _PAIRS:
            if out in keys and into in keys:
                return f"found a column {out!r} and a column {into!r}; say which are receipts: --columns amount={out}"
    shown = ", ".join(repr(name.strip()[:30]) for name in layout.names[:12] if name.strip())
    expected = "; ".join(f"{field}: {', '.join(NAMES[field][0][:4])}" for field in layout.missing)
    return (
        f"found the columns {shown or '(none)'}; expected one for each of {' and '.join(layout.missing)} ({expected}), "
        f"or --columns {layout.missing[0]}=NAME"
    )


def read_choice(written: Iterable[str]) -> dict[str, str]:
    """`vendor=Payee,amount=Debit` as field → name. A name with a comma must be quoted. ValueError otherwise."""
    found: dict[str, str] = {}
    for text in written:
        for part in next(csv.reader([text], skipinitialspace=True), []):
            field, equals, name = part.partition("=")
            field = field.strip().lower()
            if not equals or field not in NAMES:
                raise ValueError(f"found {part!r}, expected FIELD=NAME with a field of {', '.join(NAMES)}")
            if field in found:
                raise ValueError(f"found {field} twice")
            found[field] = name.strip()
    return found


def not_there(layout: Layout, chosen: Mapping[str, str]) -> str | None:
    """The first column named in --columns that is not in the header."""
    return next((name for field, name in chosen.items() if name and field not in layout.tiers), None)


def key_of_name(name: str) -> str:
    """A name for comparison, without case, spaces and dashes."""
    return re.sub(r"[\s_-]+", " ", plain(name[:_MAX_NAME])).strip().casefold()


def _amount_with_currency(name: str) -> list[Says]:
    """`Amount (USD)`, `Total EUR`, `Amount in €`: the currency in an amount's header."""
    for form in _WITH_CURRENCY:
        match = form.fullmatch(" ".join(plain(name[:_MAX_NAME]).split()))
        said = signs(match[2]) if match is not None and key_of_name(match[1]) in NAMES["amount"][0] else None
        if said and (form is _WITH_CURRENCY[0] or all(one.preferred or not one.codes for one in said)):
            return said
    return []


def _currency_of(name: str) -> list[Says]:
    """The currency anywhere in the header of a column named in --columns: `Betrag in EUR`."""
    words = re.split(r"[\s()\[\],_/]+", plain(name[:_MAX_NAME]))
    return [said for word in words if not word.isalpha() or len(word) == 3 if (said := sign(word))]
