"""One line of an import: what it says, or a sentence for why it can't be read."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from actors.receipts.amounts import Money, decimal_point, read_money
from actors.receipts.currencies import Says, agree, read_currency
from actors.receipts.dates import DEFAULT, Evidence, Rule, read_date
from service.imports.columns import Layout
from service.imports.rows import NOT_UTF_8, Row, Sheet, Unread, undecoded

MAX_TEXT = 500

_OUT = {"debit", "dr", "d", "out", "outgoing", "expense", "purchase", "sale", "withdrawal", "soll", "s", "חובה", "+"}
_IN = {"credit", "cr", "c", "in", "incoming", "income", "refund", "return", "deposit", "haben", "h", "credit note",
       "reversal", "זכות", "זיכוי", "-"}  # fmt: skip

# A spreadsheet has shown a long number in short, and its last digits are gone.
_SHORTENED = re.compile(r"\d[.,]?\d*[eE]\+\d+|\d[.,]\d+[eE]\d+", re.ASCII)

_FIELDS = json.JSONEncoder(sort_keys=True, default=str)
_read_date = lru_cache(maxsize=8192)(read_date)


@dataclass(frozen=True, slots=True)
class Line:
    """A receipt as a line tells it."""

    vendor: str
    money: Money
    received_at: datetime
    source_id: str | None  # the line's own id
    file: str | None  # the name of an image or a PDF


@dataclass
class Survey:
    """What the lines of a file prove together, seen before any of them is imported."""

    evidence: Evidence
    points: set[str] = field(default_factory=set)  # decimal points
    undecoded: int = 0  # lines that are not text in UTF-8
    foreign: int = 0  # lines that are, with letters beyond ASCII
    _days: set[str] = field(default_factory=set)

    @classmethod
    def of_today(cls, today: date) -> "Survey":
        return cls(Evidence(today))

    def see(self, row: Row | Unread, sheet: Sheet) -> None:
        if isinstance(row, Unread):
            self.undecoded += row.why == NOT_UTF_8
            return
        layout = sheet.layout(row)
        for text in _cells(row, layout, "date"):
            if isinstance(text, str) and text not in self._days:
                self.evidence.see(text)
                if len(self._days) < 100_000:
                    self._days.add(text)
        for written in _cells(row, layout, "amount"):
            if isinstance(written, str) and (point := decimal_point(written)):
                self.points.add(point)
        text = "".join(cell for n in layout.used if n < len(row.cells) and isinstance(cell := row.cells[n], str))
        if not text.isascii():
            not_utf_8 = undecoded(text)
            self.undecoded += not_utf_8
            self.foreign += not not_utf_8


@dataclass(frozen=True)
class Reader:
    """Reads lines as their file and its owner say."""

    currency: str  # for lines that name none
    rule: Rule = DEFAULT
    points: frozenset[str] = frozenset()
    signed_by_direction: bool = False  # --columns direction=…

    def read(self, row: Row, layout: Layout) -> Line:
        """ValueError says what was found, and what was expected."""
        vendor = _only(row, layout, "vendor")
        if vendor is None:
            raise ValueError("vendor or company is missing")
        return Line(
            vendor=vendor,
            money=self._direct(row, layout, self._money(row, layout)),
            received_at=self._date(row, layout),
            source_id=_source_id(_only(row, layout, "id")),
            file=_only(row, layout, "file"),
        )

    def _money(self, row: Row, layout: Layout) -> Money:
        written = _only(row, layout, "currency")
        column = read_currency(written) if written else None
        for positions in layout.tiers.get("amount", ()):
            found = {}
            for position in positions:
                text = _text(row.cells[position]) if position < len(row.cells) else None
                if text is not None:
                    cell = row.cells[position]
                    header = layout.header_currency[position]
                    money = read_money(
                        text if isinstance(cell, str) else cell,
                        currency=_header(header, column, self.currency),
                        default=self.currency,
                        points=self.points,
                    )
                    found[money] = f"{row.names[position].strip()} {text}"
            if len(found) > 1:
                raise ValueError(f"found {' and '.join(found.values())}, expected one amount, or --columns amount=NAME")
            if found:
                return next(iter(found))
        raise ValueError("amount or total is missing")

    def _date(self, row: Row, layout: Layout) -> datetime:
        for positions in layout.tiers.get("date", ()):
            found = {}
            for position in positions:
                text = _text(row.cells[position]) if position < len(row.cells) else None
                if text is not None:
                    found[_read_date(text, self.rule)] = f"{row.names[position].strip()} {text}"
            if len(found) > 1:
                raise ValueError(f"found {' and '.join(found.values())}, expected one day, or --columns date=NAME")
            if found:
                return next(iter(found))
        raise ValueError("date is missing")

    def _direct(self, row: Row, layout: Layout, money: Money) -> Money:
        """The amount, with the sign that a column of its own gives it; refused where that leaves a doubt."""
        for position in (position for tier in layout.tiers.get("direction", ()) for position in tier):
            name = row.names[position].strip()
            word = (_text(row.cells[position]) or "").casefold() if position < len(row.cells) else ""
            told = self.signed_by_direction
            if (
                name.casefold() in _ORDINARY
                and not told
                and ((len(word) == 1 and word.isalpha()) or word not in _OUT | _IN)
            ):
                continue
            if word not in _OUT | _IN:
                if word or told:
                    raise ValueError(f"{name} {word!r}: expected a word such as debit or credit")
            elif money.amount < 0:
                raise ValueError(
                    f"found {word!r} in the column {name!r} and a minus: a purchase or a refund? "
                    "--columns direction= takes amounts as they are written"
                )
            elif word in _IN and not told:
                raise ValueError(
                    f"found {word!r} in the column {name!r}: --columns 'direction={name}' makes such amounts negative, "
                    "--columns direction= takes them as they are written"
                )
            elif word in _IN:
                return Money(-money.amount, money.currency)
        return money


_ORDINARY = {"type", "transaction type", "sign"}  # columns that often hold something else


def _header(said: list[Says], column: str | None, default: str) -> str | None:
    """The currency of an amount's column: what its header and the currency column agree on."""
    if any(one.codes for one in said):
        return agree(said, column, default)
    return column


def keys_of(row: Row, line: Line) -> tuple[str, str | None]:
    """The key of a line's receipt: its id, else the hash of its raw fields; and the key that the first release of this
    importer gave it, if that was another one. Never change them, or files are imported twice.
    """
    raw = row.raw()
    if line.source_id is not None and _text(raw.get("id")) == line.source_id:
        return line.source_id, None
    key = f"sha256:{hashlib.sha256(_FIELDS.encode(raw).encode()).hexdigest()}"
    return (key, None) if line.source_id is None else (line.source_id, key)


def _cells(row: Row, layout: Layout, name: str) -> Iterator[Any]:
    for tier in layout.tiers.get(name, ()):
        for position in tier:
            if position < len(row.cells):
                yield row.cells[position]


def _only(row: Row, layout: Layout, name: str) -> str | None:
    """The text of a field. ValueError when two columns of one tier say different things."""
    for tier in layout.tiers.get(name, ()):
        found = {}
        for position in tier:
            text = _text(row.cells[position]) if position < len(row.cells) else None
            if text is not None:
                found[text] = f"{row.names[position].strip()} {text[:40]!r}"
        if len(found) > 1:
            raise ValueError(f"found {' and '.join(found.values())}, expected one {name}, or --columns {name}=NAME")
        if found:
            return next(iter(found))
    return None


def _source_id(text: str | None) -> str | None:
    if text is not None and _SHORTENED.fullmatch(text):
        raise ValueError(f"id {text!r}: a spreadsheet has cut its digits off; export it as text")
    return text


def _text(value: Any) -> str | None:
    """As stripped text, None when there is none. ValueError when it can't be a vendor, an id, an amount or a day."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError(f"{str(value)[:40]!r}: expected text or a number")
    text = str(value).strip()
    if len(text) > MAX_TEXT:
        raise ValueError(f"{text[:40]!r}…: expected at most {MAX_TEXT} characters")
    if not text.isprintable():
        if "\x00" in text or undecoded(text):
            raise ValueError(f"{text[:40]!r}: {NOT_UTF_8}")
        if len(text.splitlines()) > 1:
            raise ValueError(f"{text[:40]!r}: found a line break, expected one line")
    return text or None
