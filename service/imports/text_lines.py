"""Lines of text with their numbers, of limited length."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

MAX_LINE = 1024 * 1024  # characters, of a line or of one row
MAX_ROW_LINES = 200  # lines of text that one row of CSV may span


class TooLongError(Exception):
    """A line, or a row, that is skipped; the lines after it are read."""


@contextmanager
def open_lines(handle: BinaryIO, encoding: str, newline: str = "") -> Iterator["Lines"]:
    """The lines from the start; `newline`: what ends them, "" for any usual end. Invalid UTF-8 bytes are preserved."""
    handle.seek(0)
    utf_8 = encoding == "utf-8"
    text = io.TextIOWrapper(
        handle, "utf-8-sig" if utf_8 else encoding, "surrogateescape" if utf_8 else "strict", newline=newline
    )
    try:
        yield Lines(text, (newline,) if newline else ("\n", "\r"))
    finally:
        if not handle.closed:  # as it is if an interrupted import drops the lines only after their file
            text.detach()


class Lines:
    """Lines of text with their numbers, and those of the current row. TooLongError if one is too long."""

    def __init__(self, text: io.TextIOWrapper, ends: tuple[str, ...]) -> None:
        self._text, self._ends = text, ends
        self._pushed = ""
        self.number = 0
        self.begin_row()

    def begin_row(self) -> None:
        self.row_start = self.number + 1
        self._row: list[str] = []
        self._length = 0

    def below(self) -> list[str]:
        """The lines of the row except its first."""
        return self._row[1:]

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        line, self._pushed = self._pushed or self._text.readline(MAX_LINE + 1), ""
        if not line:
            raise StopIteration
        if len(line) > MAX_LINE:
            line = self._end(line)
        self.number += 1
        if len(line) > MAX_LINE and not line.endswith(self._ends):
            self._skip()
            raise TooLongError(f"found a line longer than {MAX_LINE:,} characters")
        if self.number - self.row_start >= MAX_ROW_LINES:
            raise TooLongError(f"a quote opens on line {self.row_start} and stays open for {MAX_ROW_LINES} lines")
        self._length += len(line)
        if self._length > MAX_LINE + 1:
            raise TooLongError(f"a quote opens on line {self.row_start} and runs over {MAX_LINE:,} characters")
        self._row.append(line)
        return line

    def _skip(self) -> None:
        """Skips the rest of a line."""
        rest = "…"
        while rest and not rest.endswith(self._ends):
            rest = self._text.readline(MAX_LINE)
        self._end(rest)

    def _end(self, read: str) -> str:
        """What was read, to the end of its line: a truncated read may have split `\r\n`."""
        if not read.endswith("\r") or "\r" not in self._ends:
            return read
        following = self._text.readline(MAX_LINE + 1)
        if following == "\n":
            return read + following
        self._pushed = following
        return read


def short(lines: Lines) -> Iterator[str]:
    """The lines, with an empty one in place of each that is too long."""
    while True:
        lines.begin_row()
        try:
            yield next(lines)
        except StopIteration:
            return
        except TooLongError:
            yield ""
