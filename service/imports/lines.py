"""One line of an import: its receipt, or a sentence why it can't be read."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from actors.receipts.amounts import Money, read_money
from actors.receipts.currencies import read_currency
from actors.receipts.dates import read_date
from actors.receipts.day_order import DEFAULT, Rule
from actors.receipts.separators import Separators
from service.imports.cells import goes_on, text_of
from service.imports.columns import Layout
from service.imports.direction import directed
from service.imports.rows import Row

NEVER = datetime.max.replace(tzinfo=UTC)

# A spreadsheet has abbreviated a long number, and its last digits are lost.
_NO_ID = re.compile(r"(?i)#*|#?n/?a|#ref!|null|none|nil|nan|inf|-inf|-+|undefined|unknown|tbd|\?+")
_SHORTENED = re.compile(r"\d[.,]?\d*[eE]\+\d+|\d[.,]\d+[eE]\d+", re.ASCII)

_FIELDS = json.JSONEncoder(sort_keys=True, default=str)
_read_date = lru_cache(maxsize=8192)(read_date)


@dataclass(frozen=True, slots=True)
class Line:
    """A receipt as given on a line."""

    vendor: str
    money: Money
    received_at: datetime
    source_id: str | None  # the line's own id
    file: str | None  # the name of an image or a PDF


@dataclass(frozen=True)
class Reader:
    """Reads lines by the rules of their file and its owner."""

    currency: str  # for lines without one
    rule: Rule = DEFAULT
    separators: Separators = field(default_factory=Separators)
    split_by_commas: bool = False  # so an unquoted amount is cut in two
    latest: datetime = NEVER  # a later day is a mistake
    signed_by_direction: bool = False  # --columns direction=…

    def read(self, row: Row, layout: Layout) -> Line:
        """ValueError says what was found and what was expected."""
        if layout.doubt is not None:
            raise ValueError(layout.doubt)
        vendor = _only(row, layout, "vendor")
        if vendor is None:
            raise ValueError("vendor or company is missing")
        return Line(
            vendor=vendor,
            money=directed(row, layout, self._money(row, layout), told=self.signed_by_direction),
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
                text = text_of(row.cells[position]) if position < len(row.cells) else None
                if text is not None:
                    if self.split_by_commas and goes_on(row, position):
                        raise ValueError(
                            f"found {text!r} and then {row.cells[position + 1]!r}, which may be one amount; "
                            "an amount with a comma must be quoted"
                        )
                    money = read_money(
                        text if isinstance(row.cells[position], str) else row.cells[position],
                        currency=column,
                        default=self.currency,
                        header=layout.header_currency[position],
                        separators=self.separators,
                    )
                    found[money] = f"{row.names[position].strip()[:40]} {text[:40]}"
            if len(found) > 1:
                raise ValueError(f"found {_and(found.values())}, expected one amount, or --columns amount=NAME")
            if found:
                return next(iter(found))
        raise ValueError("amount or total is missing")

    def _date(self, row: Row, layout: Layout) -> datetime:
        for positions in layout.tiers.get("date", ()):
            found = {}
            for position in positions:
                text = text_of(row.cells[position]) if position < len(row.cells) else None
                if text is not None:
                    found[_read_date(text, self.rule)] = f"{row.names[position].strip()[:40]} {text}"
            if len(found) > 1:
                raise ValueError(f"found {_and(found.values())}, expected one day, or --columns date=NAME")
            if found:
                moment = next(iter(found))
                if moment > self.latest:
                    raise ValueError(f"date {moment.date()}: expected a day in the past or in the next 366 days")
                return moment
        raise ValueError("date is missing")


def _and(found: Iterable[str]) -> str:
    return " and ".join(list(found)[:3])


def keys_of(row: Row, line: Line) -> tuple[str, str | None]:
    """The key of a line's receipt: its id, else the hash of its raw fields; and the key from the first release of this
    importer, if different. Never change them, or files are imported twice.
    """
    raw = row.raw()
    if line.source_id is not None and text_of(raw.get("id")) == line.source_id:
        return line.source_id, None
    key = f"sha256:{hashlib.sha256(_FIELDS.encode(raw).encode()).hexdigest()}"
    return (key, None) if line.source_id is None else (line.source_id, key)


def _only(row: Row, layout: Layout, name: str) -> str | None:
    """The text of a field. ValueError if two columns of one tier disagree."""
    for tier in layout.tiers.get(name, ()):
        found = {}
        for position in tier:
            text = text_of(row.cells[position]) if position < len(row.cells) else None
            if text is not None:
                found[text] = f"{row.names[position].strip()[:40]} {text[:40]!r}"
        if len(found) > 1:
            raise ValueError(f"found {_and(found.values())}, expected one {name}, or --columns {name}=NAME")
        if found:
            return next(iter(found))
    return None


def _source_id(text: str | None) -> str | None:
    if text is not None and _NO_ID.fullmatch(text):
        raise ValueError(f"id {text!r}: expected an id, or nothing")
    if text is not None and _SHORTENED.fullmatch(text):
        raise ValueError(f"id {text!r}: a spreadsheet has cut its digits off; export it as text")
    return text
