"""CSV, in any dialect."""

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import BinaryIO

from actors.receipts.amounts import read_money
from actors.receipts.dates import read_date
from service.imports.columns import MAX_COLUMNS, REQUIRED, Layout, explain, layout, not_there
from service.imports.encodings import not_utf_8, undecoded
from service.imports.rows import Row, Unread, UnreadableFileError
from service.imports.text_lines import MAX_LINE, Lines, TooLongError, open_lines, short

MAX_PREAMBLE = 50  # lines before the header
MAX_HEADER = 64 * 1024  # characters
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
csv.field_size_limit(MAX_LINE)

Layouts = Callable[[tuple[str, ...]], Layout]


class Csv:
    """A CSV file. UnreadableFileError if it has no header that names what a receipt needs."""

    def __init__(self, handle: BinaryIO, encoding: str, columns: Mapping[str, str], layouts: Layouts) -> None:
        self._handle, self._encoding, self._columns, self._layouts = handle, encoding, columns, layouts
        self.notes: list[str] = []
        self._header, self.delimiter = 0, ","
        self._find_header()

    def _find_header(self) -> None:
        """The first line that names a vendor, an amount and a date decides the delimiter and the columns."""
        best: tuple[int, Layout] | None = None
        with open_lines(self._handle, self._encoding) as lines:
            start = [line if len(line) <= MAX_HEADER else "" for line in islice(short(lines), MAX_PREAMBLE)]
        told = sep[1] if start and (sep := re.fullmatch(r"(?i)sep=(.)[\r\n]*", start[0])) else None
        for before in range(1 if told else 0, len(start)):
            for delimiter in [told] if told else DELIMITERS:
                reader = csv.reader(start[before:], delimiter=delimiter, strict=True)
                try:
                    cells = next(reader, [])
                except (csv.Error, TypeError):
                    continue
                if len(cells) > MAX_COLUMNS:
                    continue
                found = layout(cells, self._columns)
                if not found.missing and not not_there(found, self._columns):
                    if found.doubt is not None:
                        raise UnreadableFileError(found.doubt)
                    self._accept(before + reader.line_num, delimiter, found, skipped=before - (told is not None))
                    return
                score = 100 * (len(REQUIRED) - len(found.missing)) + len(cells)
                if any(cells) and (best is None or score > best[0]):
                    best = (score, found)
        if best is not None:
            self._refuse(best[1], any(undecoded(line) for line in start))
        if start:
            raise UnreadableFileError(f"found no header within {len(start)} lines")
        self._accept(0, ",", layout((), {}), skipped=0)

    def _refuse(self, found: Layout, foreign: bool) -> None:
        if foreign:
            raise UnreadableFileError(not_utf_8(self._handle))
        if missing := not_there(found, self._columns):
            shown = ", ".join(repr(name.strip()[:30]) for name in found.names[:12])
            raise UnreadableFileError(f"found no column {missing!r} (from --columns), only {shown}")
        raise UnreadableFileError(f"found no header: {explain(found)}")

    def _accept(self, number: int, delimiter: str, found: Layout, *, skipped: int) -> None:
        self._header, self.delimiter, self._names = number, delimiter, found.names
        if delimiter != ",":
            self.notes.append(f"Columns are separated by {DELIMITERS.get(delimiter, repr(delimiter))}.")
        if skipped:
            self.notes.append(f"{skipped} lines before the header, which ends on line {number}, were skipped.")

    def rows(self) -> Iterator[Row | Unread]:
        names = self._names
        with open_lines(self._handle, self._encoding) as lines:
            for _ in islice(short(lines), self._header):
                pass
            reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
            while True:
                lines.begin_row()
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except (TooLongError, csv.Error) as error:
                    yield Unread(lines.row_start, lines.number, _csv_fault(str(error), lines))
                    continue
                if not any(cell and not cell.isspace() for cell in cells):
                    continue
                if header := self._another_header(names, cells):
                    names = header
                    continue
                yield self._row(names, cells, lines)

    def _another_header(self, names: tuple[str, ...], cells: list[str]) -> tuple[str, ...] | None:
        """The columns of a second table, if this row is its header: exports are joined, or repeat it on each page."""
        if any(c.isdigit() for cell in cells for c in cell[:100]) or len(cells) > MAX_COLUMNS:
            return None
        found = self._layouts(tuple(cells))
        return None if found.missing or found.doubt or not_there(found, self._columns) else found.names

    def _row(self, names: tuple[str, ...], cells: list[str], lines: Lines) -> Row | Unread:
        first, last, width = lines.row_start, lines.number, len(names)
        while len(cells) > width and not cells[-1].strip():
            cells.pop()
        if len(cells) > width:
            return Unread(first, last, "found more fields than the header names")
        row = Row(first, last, names, cells, self._encoding)
        used = self._layouts(row.names).used
        if last > first and any(self._looks_like_a_row(line, self._layouts(row.names)) for line in lines.below()):
            return Unread(first, last, f"a quote that opens on line {first} or below runs over whole rows")
        if any(cell.strip() and not name.strip() for name, cell in zip(names, cells, strict=False)):
            return Unread(first, last, "found text in a column without a name")
        if len(cells) < width and any(position >= len(cells) for position in used):
            return Unread(first, last, f"found {len(cells)} fields, expected the {width} of the header")
        return row

    def _looks_like_a_row(self, line: str, found: Layout) -> bool:
        """Does a line within a row have a day and an amount in the right columns?"""
        cells = next(csv.reader([line], delimiter=self.delimiter), [])
        return all(
            any(_reads(read, cells[n]) for tier in found.tiers[field] for n in tier if n < len(cells))
            for field, read in (("date", read_date), ("amount", partial(read_money, default="USD")))
        )


def _reads(read: Callable[[str], object], cell: str) -> bool:
    try:
        read(cell.strip(' \r\n"'))
    except ValueError:
        return False
    return True


def _csv_fault(error: str, lines: Lines) -> str:
    if "unexpected end of data" in error:
        return f"a quote that opens on line {lines.row_start} is never closed"
    if "field larger than" in error:
        return f"a quote that opens on line {lines.row_start} is not closed within {MAX_LINE:,} characters"
    if "expected after" in error:
        return "found text after a closing quote; a quote within a field must be doubled"
    return error
