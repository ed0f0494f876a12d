"""The rows of a file: JSON Lines, or CSV in whatever dialect and encoding it proves to be."""

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from typing import Any, BinaryIO

from actors.runtime.errors import LonghaulError
from service.imports.columns import REQUIRED, Layout, explain, layout, not_there

MAX_LINE = 1024 * 1024  # characters, of a line or of one field
MAX_ROW_LINES = 200  # lines of text that one row of CSV may span
MAX_PREAMBLE = 50  # lines before the header
HEAD_BYTES = 64 * 1024
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
JSON_NAMES = (".jsonl", ".json", ".ndjson")
csv.field_size_limit(MAX_LINE)

NOT_UTF_8 = "found bytes that are no text in UTF-8"

_BOMS = (  # the longer ones first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LEGACY = ("windows-1252", "windows-1255", "windows-1250", "windows-1251")
_FOREIGN = (
    (b"PK\x03\x04", "an Excel workbook or another ZIP archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a compressed file"),
)


class UnreadableFileError(LonghaulError):
    """The whole file can't be read; nothing of it was imported."""


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one row, with the lines of text that it stood on."""

    first: int
    last: int
    names: tuple[str, ...]
    cells: list[Any]
    encoding: str | None = None  # of a CSV file

    def raw(self) -> dict[str, Any]:
        """The fields as the first release of this importer saw them, for the line's key."""
        if self.encoding is None:
            return dict(zip(self.names, self.cells, strict=True))
        cells = self.cells + [None] * (len(self.names) - len(self.cells))
        if not self.encoding.startswith("utf-"):
            cells = [cell and _as_utf_8(cell, self.encoding) for cell in cells]
        return dict(zip(_lower(self.names), cells, strict=True))


@dataclass(frozen=True, slots=True)
class Unread:
    """Lines that are no row, and why."""

    first: int
    last: int
    why: str


class Sheet:
    """A file whose dialect is known; its rows can be read again and again."""

    def __init__(
        self, handle: BinaryIO, *, name: str, encoding: str | None = None, columns: Mapping[str, str] | None = None
    ) -> None:
        """`handle` can seek; `columns` is field → name. Raises UnreadableFileError."""
        self._handle, self._columns = handle, columns or {}
        self.notes: list[str] = []  # what its owner should know about how it is read
        head = _head(handle)
        self.encoding = encoding or _encoding(head)
        self.is_json = _is_json(name, head, self.encoding)
        self._header, self._delimiter = 0, ","
        self._layouts = lru_cache(maxsize=1024)(lambda names: layout(names, self._columns))
        try:
            if self.is_json:
                self._check_json()
            else:
                self._find_header()
        except UnicodeError:
            raise UnreadableFileError(f"found bytes that are no text in {self.encoding}") from None

    def layout(self, row: Row) -> Layout:
        return self._layouts(row.names)

    def rows(self) -> Iterator[Row | Unread]:
        try:
            yield from self._json_rows() if self.is_json else self._csv_rows()
        except UnicodeError:
            raise UnreadableFileError(f"found bytes that are no text in {self.encoding}") from None

    def not_utf_8(self) -> str:
        """The first text that is not UTF-8, as it reads in other encodings: its owner knows which is right."""
        self._handle.seek(0)
        line = next((line for line in self._handle if undecoded(line.decode("utf-8", "surrogateescape"))), b"")
        word = re.search(rb"[^\x00-\x7f][^,;\t|\r\n]{,19}", line)
        sample = word[0] if word else b""
        read = [f"{sample.decode(encoding, 'replace')!r} as {encoding}" for encoding in _LEGACY]
        return f"{NOT_UTF_8}, which read {', '.join(read)}; say the right --encoding"

    @contextmanager
    def _lines(self) -> Iterator["_Lines"]:
        self._handle.seek(0)
        with_bom = "utf-8-sig" if self.encoding == "utf-8" else self.encoding
        errors = "surrogateescape" if self.encoding == "utf-8" else "strict"
        text = io.TextIOWrapper(self._handle, with_bom, errors, newline="\n" if self.is_json else "")
        try:
            yield _Lines(text)
        finally:
            text.detach()

    def _check_json(self) -> None:
        with self._lines() as lines:
            first = next((line for line in _short(lines) if line.strip()), "").strip()
        if first in ("[", "{") or (first.startswith("[") and first.endswith(",")) or first.startswith("[{"):
            raise UnreadableFileError("found one JSON document, expected JSON Lines: one object on each line")

    def _json_rows(self) -> Iterator[Row | Unread]:
        with self._lines() as lines:
            while True:
                lines.begin_row()
                try:
                    line = next(lines).strip()
                except StopIteration:
                    return
                except _TooLongError as error:
                    yield Unread(lines.number, lines.number, str(error))
                    continue
                if line:
                    yield _json_row(lines.number, line)

    def _find_header(self) -> None:
        """The first line that names a vendor, an amount and a date decides delimiter and columns."""
        best: tuple[int, Layout] | None = None
        foreign = False
        with self._lines() as lines:
            candidates = [*islice(_short(lines), MAX_PREAMBLE)]
        told = None
        for number, line in enumerate(candidates, 1):
            if number == 1 and (sep := re.fullmatch(r"(?i)sep=(.)[\r\n]*", line)):
                told = sep[1]
                continue
            foreign = foreign or undecoded(line)
            for delimiter in [told] if told else DELIMITERS:
                try:
                    cells = next(csv.reader([line], delimiter=delimiter), [])
                except (csv.Error, TypeError):
                    continue
                found = layout(cells, self._columns)
                if not found.missing and not not_there(found, self._columns):
                    self._accept(number, delimiter, found, skipped=number - 1 - (told is not None))
                    return
                score = 100 * (len(REQUIRED) - len(found.missing)) + len(cells)
                if any(cells) and (best is None or score > best[0]):
                    best = (score, found)
        if best is None:
            if candidates:
                raise UnreadableFileError(f"found no header within {len(candidates)} lines")
            self._accept(0, ",", layout((), {}), skipped=0)
            return
        self._refuse(best[1], foreign)

    def _refuse(self, found: Layout, foreign: bool) -> None:
        if foreign:
            raise UnreadableFileError(self.not_utf_8())
        if missing := not_there(found, self._columns):
            shown = ", ".join(repr(name.strip()[:30]) for name in found.names[:12])
            raise UnreadableFileError(f"found no column {missing!r} as --columns says, but {shown}")
        raise UnreadableFileError(f"found no header: {explain(found)}")

    def _accept(self, number: int, delimiter: str, found: Layout, *, skipped: int) -> None:
        self._header, self._delimiter, self._names = number, delimiter, found.names
        if delimiter != ",":
            self.notes.append(f"Columns are separated by {DELIMITERS.get(delimiter, repr(delimiter))}.")
        if skipped:
            self.notes.append(f"Lines before the header, on line {number}, were passed over: {skipped}.")

    def _csv_rows(self) -> Iterator[Row | Unread]:
        with self._lines() as lines:
            for _ in islice(_short(lines), self._header):
                pass
            reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
            while True:
                lines.begin_row()
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except (_TooLongError, csv.Error) as error:
                    yield Unread(lines.row_start, lines.number, _csv_fault(str(error), lines))
                    continue
                if any(cell and not cell.isspace() for cell in cells):
                    yield self._csv_row(cells, lines)

    def _csv_row(self, cells: list[str], lines: "_Lines") -> Row | Unread:
        first, last, width = lines.row_start, lines.number, len(self._names)
        if last > first and lines.looks_like_rows(self._delimiter, width):
            return Unread(first, last, f"a quote that opens on line {first} runs over whole rows")
        while len(cells) > width and not cells[-1].strip():
            cells.pop()
        if len(cells) > width:
            return Unread(first, last, "found more fields than the header names")
        row = Row(first, last, self._names, cells, self.encoding)
        if len(cells) < width and any(position >= len(cells) for position in self.layout(row).used):
            return Unread(first, last, f"found {len(cells)} fields, expected the {width} of the header")
        return row


class _Lines:
    """Lines of text with their numbers, and those of the row in hand. A line that is too long raises _TooLongError."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self.number = 0
        self.begin_row()

    def begin_row(self) -> None:
        self.row_start = self.number + 1
        self._row: list[str] = []

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._text.readline(MAX_LINE + 1)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) > MAX_LINE and not line.endswith("\n"):
            while (rest := self._text.readline(MAX_LINE)) and not rest.endswith(("\n", "\r")):
                pass
            raise _TooLongError(f"found a line longer than {MAX_LINE:,} characters")
        if self.number - self.row_start >= MAX_ROW_LINES:
            raise _TooLongError(
                f"a quote opens on line {self.row_start} and does not close within {MAX_ROW_LINES} lines"
            )
        self._row.append(line)
        return line

    def looks_like_rows(self, delimiter: str, width: int) -> bool:
        """Has the row's first line as many fields as the header, and one of the lines below it too?"""
        full = [line.count(delimiter) >= width - 1 for line in self._row]
        return width > 1 and full[0] and any(full[1:])


class _TooLongError(Exception):
    pass


def _short(lines: _Lines) -> Iterator[str]:
    """The lines, with an empty one for each that is too long."""
    while True:
        lines.begin_row()
        try:
            yield next(lines)
        except StopIteration:
            return
        except _TooLongError:
            yield ""


def _csv_fault(error: str, lines: _Lines) -> str:
    if "unexpected end of data" in error:
        return f"a quote that opens on line {lines.row_start} is never closed"
    if "field larger than" in error:
        return f"a quote that opens on line {lines.row_start} is not closed within {MAX_LINE:,} characters"
    if "expected after" in error:
        return "found text after a closing quote; a quote within a field is written twice"
    return error


def _json_row(number: int, line: str) -> Row | Unread:
    if undecoded(line):
        return Unread(number, number, NOT_UTF_8)
    try:
        found = json.loads(line, parse_float=Decimal, object_pairs_hook=_Object)
    except (ValueError, RecursionError) as error:
        return Unread(number, number, f"expected a JSON object: {error}")
    if not isinstance(found, _Object):
        return Unread(number, number, f"found {line[:40]!r}, expected a JSON object")
    if found.twice is not None:
        return Unread(number, number, f"found the key {found.twice[:40]!r} twice, with different values")
    return Row(number, number, tuple(found), list(found.values()))


class _Object(dict[str, Any]):
    """A JSON object that remembers a key which stood in it twice, with different values."""

    __slots__ = ("twice",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.twice: str | None = None
        if len(self) < len(pairs):
            self.twice = next((key for key, value in pairs if value != self[key]), None)


def undecoded(text: str) -> bool:
    """Has it bytes that are not UTF-8?"""
    return not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text)


def _head(handle: BinaryIO) -> bytes:
    handle.seek(0)
    return handle.read(HEAD_BYTES)


def _encoding(head: bytes) -> str:
    """The encoding that the first bytes prove. UnreadableFileError when they are no text at all."""
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            return encoding
    for magic, what in _FOREIGN:
        if head.startswith(magic):
            raise UnreadableFileError(f"found {what}, expected CSV or JSON Lines; save it as CSV")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<table", b"<svg")):
        raise UnreadableFileError("found HTML or XML, expected CSV or JSON Lines")
    if b"\x00" in head:
        for start, encoding in ((0, "utf-16-be"), (1, "utf-16-le")):
            if head[start::2].count(0) > len(head) // 4 and not head[1 - start :: 2].count(0):
                raise UnreadableFileError(f"found text that looks like {encoding}; if it is, say --encoding {encoding}")
        raise UnreadableFileError("found binary data, expected CSV or JSON Lines")
    return "utf-8"


def _is_json(name: str, head: bytes, encoding: str) -> bool:
    """By the name's ending, else by the first character."""
    if name.lower().endswith((".csv", ".tsv")):
        return False
    start = head.decode(encoding, "replace").lstrip("\ufeff \t\r\n")[:1]
    return name.lower().endswith(JSON_NAMES) or start in ("{", "[")


@lru_cache(maxsize=16)
def _lower(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in names)


def _as_utf_8(text: str, encoding: str) -> str:
    return text.encode(encoding, "replace").decode("utf-8", "surrogateescape")
