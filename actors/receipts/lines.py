"""Receipts as lines of a file: CSV for spreadsheets, or JSON."""

import csv
import io
import json
import re
from collections.abc import Mapping
from datetime import date
from typing import Any

COLUMNS = ("id", "vendor", "amount", "currency", "received_at", "source", "source_id", "created_at")
# Places where a spreadsheet would take what follows for a formula: the start of a text, and after each semicolon, tab
# or line break. In many countries spreadsheets split a CSV at semicolons, and then ignore quotes in the middle of a
# line. Full-width signs count too, and marks that nobody sees do not.
UNSEEN = (
    r"\u00ad\u034f\u0600-\u0605\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800"
    r"\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
BREAKS = r"\t\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029"
FORMULA = re.compile(rf"""^(?=[{BREAKS}])|(?:^|(?<=[;{BREAKS}]))(?=[\s"{UNSEEN}]*[=+\-@\uff1d\uff0b\uff0d\uff20])""")


class Lines:
    """Writes receipts in one of the formats."""

    def __init__(self, output: io.StringIO, kind: str) -> None:
        self._output = output
        self._csv = csv.writer(output) if kind == "csv" else None

    def head(self) -> None:
        if self._csv is not None:
            self._output.write("\ufeff")  # so that spreadsheets recognise UTF-8
            self._csv.writerow(COLUMNS)

    def write(self, row: Mapping[Any, Any]) -> None:
        if self._csv is not None:
            self._csv.writerow(_cell(row[name]) for name in COLUMNS)
        else:
            self._output.write(json.dumps(dict(row), default=_json, ensure_ascii=False) + "\n")


def _cell(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula gets an apostrophe; numbers are ours."""
    if isinstance(value, str):
        return FORMULA.sub("'", value)
    return value.isoformat() if isinstance(value, date) else value


def _json(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)  # exact amounts, as text
