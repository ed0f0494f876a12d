"""A file that can be read repeatedly: CSV or JSON Lines."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import BinaryIO

from service.imports.columns import Layout, layout
from service.imports.csv_rows import Csv
from service.imports.encodings import find_encoding, not_utf_8
from service.imports.json_lines import JsonLines
from service.imports.rows import Row, Unread, UnreadableFileError

HEAD_BYTES = 64 * 1024
JSON_NAMES = (".jsonl", ".json", ".ndjson")


class Sheet:
    """A file whose format, encoding and columns are known."""

    def __init__(
        self, handle: BinaryIO, *, name: str, encoding: str | None = None, columns: Mapping[str, str] | None = None
    ) -> None:
        """`handle` can seek; `columns` is field → name. Raises UnreadableFileError."""
        chosen = columns or {}
        self._handle = handle
        self._layouts = lru_cache(maxsize=256)(lambda names: layout(names, chosen))
        handle.seek(0)
        head = handle.read(HEAD_BYTES)
        self.encoding = find_encoding(head, encoding)
        self.notes: list[str] = []  # how it is read, for its owner
        self.delimiter: str | None = None  # of CSV
        try:
            if _is_json(name, head, self.encoding):
                self._format: Csv | JsonLines = JsonLines(handle, self.encoding, head)
            else:
                self._format = found = Csv(handle, self.encoding, chosen, self._layouts)
                self.notes, self.delimiter = found.notes, found.delimiter
        except UnicodeError:
            raise self._not_decoded() from None

    @property
    def is_json(self) -> bool:
        return self.delimiter is None

    def layout(self, row: Row) -> Layout:
        return self._layouts(row.names)

    def rows(self) -> Iterator[Row | Unread]:
        try:
            yield from self._format.rows()
        except UnicodeError:
            raise self._not_decoded() from None

    def not_utf_8(self) -> UnreadableFileError:
        """If too many of its lines are not UTF-8."""
        return UnreadableFileError(not_utf_8(self._handle))

    def _not_decoded(self) -> UnreadableFileError:
        return UnreadableFileError(f"found bytes that are not {self.encoding} text")


def _is_json(name: str, head: bytes, encoding: str) -> bool:
    """By the file extension, else by the first character."""
    if name.lower().endswith((".csv", ".tsv")):
        return False
    start = head.decode(encoding, "replace").lstrip("\ufeff \t\r\n")[:1]
    return name.lower().endswith(JSON_NAMES) or start in ("{", "[")
