"""The lines of a file."""

from pathlib import Path

import pytest

from service.imports.text_lines import open_lines


@pytest.mark.parametrize("encoding", ["utf-8", "cp1255", "utf-16"])
def test_lines_that_are_dropped_after_their_file_was_closed_end_quietly(encoding: str, tmp_path: Path) -> None:
    """As those of an import are that Ctrl-C has interrupted."""
    path = tmp_path / "r.csv"
    path.write_text("a\nb\n" * 10_000, encoding)
    with path.open("rb") as handle:
        opened = open_lines(handle, encoding)
        lines = opened.__enter__()
        assert next(iter(lines)) == "a\n"
    opened.__exit__(None, None, None)


def test_a_file_stays_open_when_its_lines_have_been_read(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("a\nb\n")
    with path.open("rb") as handle:
        for _ in range(2):
            with open_lines(handle, "utf-8") as lines:
                assert list(lines) == ["a\n", "b\n"]
