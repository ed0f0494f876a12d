"""LOG_EVENTS.md lists every event that is logged, with its levels and its fields, and no other."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
NAME = re.compile(r"[a-z]+\.[a-z_]+")
LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "critical": "critical",
          "exception": "error"}  # fmt: skip
NUMBERS = {30: "warning", 40: "error"}  # as log.log() takes them


class Logged(NamedTuple):
    event: str
    levels: frozenset[str]
    fields: frozenset[str]
    open: bool  # has further fields, by **


def test_every_event_that_is_logged_is_listed_and_no_other() -> None:
    assert set(listed()) == {logged.event for logged in all_logged()}


def test_the_list_tells_the_levels_of_each_event() -> None:
    levels: dict[str, set[str]] = defaultdict(set)
    for logged in all_logged():
        levels[logged.event] |= logged.levels
    assert {event: row[0] for event, row in listed().items()} == levels


def test_the_list_tells_the_fields_of_each_event() -> None:
    for event, (_, fields) in listed().items():
        calls = [logged for logged in all_logged() if logged.event == event]
        written = set[str]().union(*(logged.fields for logged in calls))
        assert written <= fields, event
        assert written == fields or any(logged.open for logged in calls), event


def listed() -> dict[str, tuple[set[str], set[str]]]:
    """Event → its levels and its fields."""
    rows = re.findall(
        r"^\| `(.+?)` \| (.+?) \| .+ \| (.*?) \|$",
        (ROOT / "actors" / "runtime" / "base" / "LOG_EVENTS.md").read_text(),
        re.MULTILINE,
    )
    assert len(rows) > 30
    assert [row[0] for row in rows] == sorted({row[0] for row in rows})
    return {event: (set(levels.split(", ")), set(re.findall(r"`(\w+)`", fields))) for event, levels, fields in rows}


@cache
def all_logged() -> list[Logged]:
    files = [file for package in ("actors", "service", "sql") for file in (ROOT / package).rglob("*.py")]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    return [logged for node in nodes if isinstance(node, ast.FunctionDef) for logged in logged_in(node)]


def logged_in(function: ast.FunctionDef) -> Iterator[Logged]:
    """By log.warning(…), or by a name that was given log.warning; the event as it stands there, or in a variable."""
    writers = {
        node.targets[0].id: levels_of(node.value)
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and levels_of(node.value)
    }
    for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
        levels, arguments = levels_of(call.func), call.args
        if isinstance(call.func, ast.Name):
            levels = writers.get(call.func.id, frozenset())
        elif isinstance(call.func, ast.Attribute) and ast.unparse(call.func) == "log.log":
            number, *arguments = call.args
            levels = frozenset(NUMBERS[n.value] for n in ast.walk(number) if isinstance(n, ast.Constant))
        if levels and arguments:
            fields = frozenset(keyword.arg for keyword in call.keywords if keyword.arg) - {"exc_info"}
            is_open = any(keyword.arg is None for keyword in call.keywords)
            for event in events_of(arguments[0], function):
                yield Logged(event, levels, fields, is_open)


def levels_of(writer: ast.expr) -> frozenset[str]:
    """Of log.warning, of structlog.get_logger(…).warning, or of whichever of two is chosen."""
    if isinstance(writer, ast.IfExp):
        return levels_of(writer.body) | levels_of(writer.orelse)
    if isinstance(writer, ast.Attribute) and re.match(r"log$|structlog\.get_logger\(", ast.unparse(writer.value)):
        return frozenset({LEVELS[writer.attr]} if writer.attr in LEVELS else ())
    return frozenset()


def events_of(argument: ast.expr, function: ast.FunctionDef) -> set[str]:
    """A literal; of a variable, every other string of its function that has the form of an event's name."""
    if isinstance(argument, ast.Constant):
        return {argument.value}
    literal = {id(call.args[0]) for call in ast.walk(function) if isinstance(call, ast.Call) and call.args}
    texts = {node.value for node in ast.walk(function) if isinstance(node, ast.Constant) and id(node) not in literal}
    return {text for text in texts if isinstance(text, str) and NAME.fullmatch(text)}
