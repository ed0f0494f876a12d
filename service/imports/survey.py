"""What the lines of a file prove together, read before any is imported."""

from dataclasses import dataclass, field
from decimal import Decimal

from actors.receipts.currencies import MINOR_UNITS
from actors.receipts.day_order import Evidence
from actors.receipts.separators import Separators
from service.imports.cells import cells_of, goes_on, positions
from service.imports.columns import Layout
from service.imports.encodings import NOT_UTF_8, undecoded
from service.imports.rows import Row, Unread
from service.imports.sheet import Sheet

_DAY = 100  # characters of a day that are read


@dataclass
class Survey:
    """`see` every row, then ask."""

    evidence: Evidence
    separators: Separators = field(default_factory=Separators)
    undecoded: int = 0  # lines that are not UTF-8
    foreign: int = 0  # lines that are, with non-ASCII letters
    rows: int = 0
    digits_next: int = 0  # rows whose cell after the amount could continue its number
    _codes: set[str] | None = None
    _days: set[str] = field(default_factory=set)

    def see(self, row: Row | Unread, sheet: Sheet) -> None:
        if isinstance(row, Unread):
            self.undecoded += row.why == NOT_UTF_8
            return
        layout = sheet.layout(row)
        for text in cells_of(row, layout, "date"):
            day = str(text)[:_DAY]
            if day not in self._days:
                self.evidence.see(day)
                if len(self._days) < 100_000:
                    self._days.add(day)
        for written in cells_of(row, layout, "amount"):
            if isinstance(written, str | int | Decimal) and not isinstance(written, bool):
                self.separators.see(written.strip() if isinstance(written, str) else written)
        self.rows += 1
        self._see_codes(row, layout)
        self.digits_next += any(goes_on(row, position) for position in positions(layout, "amount"))
        text = "".join(cell for n in layout.used if n < len(row.cells) and isinstance(cell := row.cells[n], str))
        if not text.isascii():
            not_utf_8 = undecoded(text)
            self.undecoded += not_utf_8
            self.foreign += not not_utf_8

    def _see_codes(self, row: Row, layout: Layout) -> None:
        if row.encoding is None or layout.has_currency:
            return
        here = {name for n, (name, cell) in enumerate(zip(row.names, row.cells, strict=False))
                if n not in layout.used and cell.strip() in MINOR_UNITS}  # fmt: skip
        self._codes = here if self._codes is None else self._codes & here

    @property
    def is_utf_8(self) -> bool:
        """One bad line among good ones is a bad line; several and no good one mean another encoding."""
        return self.undecoded <= max(1, self.foreign)

    @property
    def splits_by_commas(self) -> bool:
        """Could a cell of digits after an amount be the rest of it? Not if amounts have their own decimals and most
        rows have such a cell: then it is a column.
        """
        return self.digits_next * 2 < self.rows or "." not in self.separators.points

    @property
    def codes(self) -> str | None:
        """An unused column that holds nothing but currency codes."""
        return min(self._codes) if self._codes else None
