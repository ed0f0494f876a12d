"""Log lines: an event's name and its fields, on stdout, for people or as JSON."""

import logging
import re
import sys
import traceback
from typing import Any, Literal, TextIO

import structlog

from actors.runtime.base.streams import STDOUT

MOST_FRAMES = 30  # of a traceback
HEAD, TRACE = ("timestamp", "level", "event"), ("exc_info", "exception", "stack")  # all else are the line's fields
QUOTED = re.compile("[ \\t=\\r\\n\"']")  # if a field has one of these
PROCESSORS: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]


CONTROL = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069]")


def _escape(text: str) -> str:
    """Escapes what a terminal would obey, or what would change the order of what it shows."""
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def _escape_values(_logger: Any, _method: str, event: Any) -> Any:
    """For a line that is colored afterwards, whose own colors must stay. What is not a text is shown by its repr()."""
    return {name: _escape(value) if isinstance(value, str) else value for name, value in event.items()}


class _Stdout(logging.Handler):
    """Writes whole lines to the process's own stdout: Dramatiq points sys.stdout at its parent's stderr.

    It never waits for a reader; dropped lines are reported as soon as there is room.
    """

    def __init__(self, *, escape: bool) -> None:
        super().__init__()
        self._escape = escape

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # an argument that cannot be shown; raising here would end the thread that logs
            line = f"{record.levelname.lower()} {record.name}: a line that cannot be shown: {type(error).__name__}"
        self.write(line)

    def write(self, line: str) -> None:
        if lost := STDOUT.take_lost():
            structlog.get_logger("longhaul.log").warning("log.lines_lost", lines=lost)
        line = _escape(line) if self._escape else line
        line = line.replace("\n", "\n  ")  # what a library quotes must not begin like a line of ours
        STDOUT.put((line + "\n").encode(errors="backslashreplace"))

    def flush(self) -> None:
        """Called by `logging` when the process ends."""
        STDOUT.flush()


class _Lines:
    """structlog's logger for our own lines: straight to stdout, at half the cost of going through `logging`.

    Other handlers of `logging` (an error tracker's, say) also get each line, as a record.
    """

    def __init__(self, name: str, output: _Stdout) -> None:
        self.name = name
        self._output = output

    def _write(self, level: int, line: str) -> None:
        self._output.write(line)
        for handler in logging.getLogger().handlers:
            if handler is not self._output and level >= handler.level:
                handler.handle(logging.LogRecord(self.name, level, "", 0, line, None, None))

    def debug(self, line: str) -> None:
        self._write(logging.DEBUG, line)

    def info(self, line: str) -> None:
        self._write(logging.INFO, line)

    def warning(self, line: str) -> None:
        self._write(logging.WARNING, line)

    def error(self, line: str) -> None:
        self._write(logging.ERROR, line)

    exception = error

    def critical(self, line: str) -> None:
        self._write(logging.CRITICAL, line)


def _shown(render: Any) -> Any:
    """A line must never end the thread that logs it, even if an argument cannot be shown."""

    def shown(logger: Any, method: str, event: Any) -> str:
        try:
            return str(render(logger, method, event))
        except Exception as error:
            return f"{method} {logger.name}: a line that cannot be shown: {type(error).__name__}"

    return shown


def _plain(full: Any) -> Any:
    """The lines of structlog's ConsoleRenderer without colors, at a third of the cost; `full` is that renderer."""

    def plain(logger: Any, method: str, event: Any) -> str:
        if any(event.get(name) for name in TRACE):
            return str(full(logger, method, event))
        fields = {name: value for name, value in event.items() if name not in HEAD + TRACE}
        head = f"{event['timestamp']} [{event['level']:<9}] {event['event']!s:<30}"
        return " ".join([head, *(f"{name}={_value(fields[name])}" for name in sorted(fields))]).rstrip(" ")

    return plain


def _value(value: Any) -> str:
    return value if isinstance(value, str) and not QUOTED.search(value) else repr(value)


def _trace(exc_info: Any) -> str:
    """Without local variables, of which one may be a token; and only the last frames: a recursion has a thousand."""
    return "".join(traceback.format_exception(*exc_info, limit=-MOST_FRAMES)).rstrip("\n")


def _write_trace(output: TextIO, exc_info: Any) -> None:
    output.write(f"\n{_escape(_trace(exc_info))}")


def set_up_logging(log_format: Literal["console", "json"]) -> None:
    """All loggers of the process, including libraries', write to the same place in the same format."""
    colors = log_format == "console" and sys.__stdout__ is not None and sys.__stdout__.isatty()
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=colors,
            exception_formatter=_write_trace,
        )
    )
    tail: list[Any] = [structlog.processors.ExceptionRenderer(_trace)] if log_format == "json" else []
    tail += [_escape_values] if colors else []
    handler = _Stdout(escape=not colors)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=PROCESSORS,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tail, renderer],
        )
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("dramatiq_pg").setLevel(logging.WARNING)  # it logs a line per message; ours say more
    structlog.configure(
        processors=[
            *PROCESSORS,
            *tail,
            _shown(_plain(renderer) if log_format == "console" and not colors else renderer),
        ],
        logger_factory=lambda *names: _Lines(names[0] if names else "longhaul", handler),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
