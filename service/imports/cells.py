"""The cells of a row: which belong to a field, and a cell as text that Postgres can store and a page can show."""

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from service.imports.columns import NUMBERS, Layout, key_of_name
from service.imports.encodings import NOT_UTF_8, undecoded
from service.imports.rows import Row

MAX_TEXT = 500  # characters

_WHOLE = re.compile(r"[^\d]{0,4}\d+", re.ASCII)
_REST = re.compile(r"\d{1,3}([.]\d+)?[^\d]{0,4}", re.ASCII)


def text_of(value: Any) -> str | None:
    """As stripped text, None if empty. ValueError if it can't be a vendor, an id, an amount or a day."""
    if type(value) is str and value.isprintable() and len(value) <= MAX_TEXT and value.isascii():  # nearly all
        return value.strip() or None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError(f"{str(value)[:40]!r}: expected text or a number")
    text = str(value).strip().strip("\ufeff")
    if len(text) > MAX_TEXT:
        raise ValueError(f"{text[:40]!r}…: expected at most {MAX_TEXT} characters")
    if not text.isprintable():
        if "\x00" in text or undecoded(text):
            raise ValueError(f"{text[:40]!r}: {NOT_UTF_8}")
        if len(text.splitlines()) > 1:
            raise ValueError(f"{text[:40]!r}: found a line break, expected one line")
        if any(unicodedata.category(c) == "Cc" or c in "\u202d\u202e" for c in text):
            raise ValueError(f"{text[:40]!r}: found a control character")
    return text or None


def positions(layout: Layout, name: str) -> Iterator[int]:
    return (position for tier in layout.tiers.get(name, ()) for position in tier)


def cells_of(row: Row, layout: Layout, name: str) -> Iterator[Any]:
    return (row.cells[position] for position in positions(layout, name) if position < len(row.cells))


def goes_on(row: Row, position: int) -> bool:
    """Could the cell after an amount be the rest of it? `1` and `234.50`, `12` and `50`."""
    amount, rest = (row.cells[n] if n < len(row.cells) else None for n in (position, position + 1))
    if not isinstance(amount, str) or not isinstance(rest, str):
        return False
    if position + 1 < len(row.names) and NUMBERS.fullmatch(key_of_name(row.names[position + 1])):
        return False
    return bool(_WHOLE.fullmatch(amount.strip()) and _REST.fullmatch(rest.strip()))
