"""A file has one idea: none is long, and no function either."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
MOST_LINES, MOST_OF_A_FUNCTION = 200, 40


def sources() -> Iterator[Path]:
    for folder in ("service", "actors", "sql", "bench"):
        yield from (file for file in (ROOT / folder).rglob("*.py") if "migrations" not in file.parts)


def test_no_file_is_longer_than_200_lines() -> None:
    assert [file.name for file in sources() if len(file.read_text().splitlines()) > MOST_LINES] == []


def test_no_function_is_longer_than_40_lines() -> None:
    long = []
    for file in sources():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= MOST_OF_A_FUNCTION:
                long.append((file.name, node.name))
    assert long == []
