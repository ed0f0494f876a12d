"""JSON Lines: one object on each line."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, BinaryIO

from service.imports.columns import MAX_COLUMNS
from service.imports.encodings import NOT_UTF_8, undecoded
from service.imports.rows import Row, Unread, UnreadableFileError
from service.imports.text_lines import TooLongError, open_lines, short


class JsonLines:
    """A JSON Lines file. UnreadableFileError if it is a single document."""

    def __init__(self, handle: BinaryIO, encoding: str, head: bytes) -> None:
        self._handle, self._encoding = handle, encoding
        self._newline = "\r" if b"\r" in head and b"\n" not in head else "\n"
        with open_lines(self._handle, self._encoding, self._newline) as lines:
            first = next((line for line in short(lines) if line.strip()), "").strip()
        cut = first.startswith("{") and _breaks_off(first)
        if cut or first == "[" or first.startswith(("[{", "[ {")) or (first.startswith("[") and first.endswith(",")):
            raise UnreadableFileError("found one JSON document, expected JSON Lines: one object on each line")

    def rows(self) -> Iterator[Row | Unread]:
        with open_lines(self._handle, self._encoding, self._newline) as lines:
            while True:
                lines.begin_row()
                try:
                    line = next(lines).strip()
                except StopIteration:
                    return
                except TooLongError as error:
                    yield Unread(lines.number, lines.number, str(error))
                    continue
                if line:
                    yield _row(lines.number, line)


def _row(number: int, line: str) -> Row | Unread:
    if undecoded(line):
        return Unread(number, number, NOT_UTF_8)
    try:
        found = _DECODER.decode(line)
    except (ValueError, RecursionError, ArithmeticError) as error:  # the last for an exponent that is out of range
        return Unread(number, number, f"expected a JSON object: {error}")
    if not isinstance(found, _Object):
        return Unread(number, number, f"found {line[:40]!r}, expected a JSON object")
    if found.twice is not None:
        return Unread(number, number, f"found the key {found.twice[:40]!r} twice, with different values")
    if len(found) > MAX_COLUMNS:
        return Unread(number, number, f"found {len(found)} keys, expected at most {MAX_COLUMNS}")
    return Row(number, number, tuple(found), list(found.values()))


def _breaks_off(line: str) -> bool:
    try:
        json.loads(line)
    except json.JSONDecodeError as error:
        return error.pos >= len(line)
    except (ValueError, RecursionError):
        pass
    return False


class _Object(dict[str, Any]):
    """A JSON object that remembers a key that occurred twice with different values."""

    __slots__ = ("twice",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.twice: str | None = None
        if len(self) < len(pairs):
            self.twice = next((key for key, value in pairs if not _same(value, self[key])), None)


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)  # to Python, true is 1


_DECODER = json.JSONDecoder(parse_float=Decimal, object_pairs_hook=_Object)
