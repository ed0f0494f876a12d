"""Log lines: one event each, on the process's own stdout, whoever writes them; and no secret in a trace."""

import json
import os
import pty
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog

from actors.runtime.base.log import _plain

ROOT = Path(__file__).parent.parent.parent.parent.parent

PROGRAM = """
import logging, sys, structlog
from actors.runtime.base.log import set_up_logging
set_up_logging({form!r})
sys.stdout = sys.stderr = open("/dev/null", "w")  # as Dramatiq does
structlog.get_logger("longhaul.x").info("batch.done", deleted=50, percent=25.8)
logging.getLogger("some.library").warning("from %s", "elsewhere")

def authenticate(token):
    raise LookupError("boom")

try:
    authenticate("hunter" + str(2))  # Python 3.13 shows this line, too
except LookupError:
    structlog.get_logger("longhaul.x").exception("http.error")
"""


TOKYO = {**os.environ, "TZ": "Asia/Tokyo"}  # where it is never the same hour as in UTC


def printed(form: str) -> str:
    command = [sys.executable, "-c", PROGRAM.format(form=form)]
    return subprocess.run(command, cwd=ROOT, env=TOKYO, capture_output=True, text=True, check=True).stdout


def is_now(moment: str) -> bool:
    return moment.endswith("Z") and abs((datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds()) < 120


def test_as_json_every_line_is_an_object_with_its_event() -> None:
    ours, theirs, trace = (json.loads(line) for line in printed("json").splitlines())
    assert (ours["event"], ours["deleted"], ours["percent"], ours["level"]) == ("batch.done", 50, 25.8, "info")
    assert (theirs["event"], theirs["level"]) == ("from elsewhere", "warning")
    assert all(is_now(line["timestamp"]) for line in (ours, theirs, trace))
    assert trace["exception"].startswith("Traceback (most recent call last):\n")
    assert trace["exception"].endswith("\nLookupError: boom")
    assert "hunter2" not in trace["exception"]


QUOTES = """
import logging, structlog
from actors.runtime.base.log import set_up_logging
set_up_logging("console")
said = "a\\n2026-11-28T00:00:00Z [info     ] http.request actor=admin"
logging.getLogger("some.library").warning("said %s", said)
structlog.get_logger("longhaul.x").info("job.named", name=said)
try:
    raise ValueError(said)
except ValueError:
    structlog.get_logger("longhaul.x").exception("http.error")
"""


def test_what_a_line_quotes_begins_no_line_like_ours() -> None:
    lines = subprocess.run([sys.executable, "-c", QUOTES], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    begun = [line for line in lines.splitlines() if line[0].isdigit()]
    assert [re.search("said|job.named|http.error", line)[0] for line in begun] == ["said", "job.named", "http.error"]


def test_for_people_a_line_begins_with_its_time_and_a_trace_shows_no_values() -> None:
    text = printed("console")
    assert is_now(text.partition(" ")[0])
    assert "batch.done" in text
    assert "deleted=50" in text
    assert "LookupError: boom" in text
    assert "hunter2" not in text.replace('authenticate("hunter2")', "")


def test_what_cannot_be_shown_and_what_a_terminal_would_obey_stop_nobody() -> None:
    code = """
import logging
from actors.runtime.base.log import set_up_logging
class Bad:
    def __repr__(self):
        raise RecursionError
set_up_logging("console")
logging.getLogger("a").error("shows %r", Bad())
logging.getLogger("a").error("x\\x1b[2Jy\\u2028z")
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "a line that cannot be shown: RecursionError" in ran.stdout
    assert "x\\x1b[2Jy\\u2028z" in ran.stdout


def test_our_own_lines_stop_nobody_either_and_other_handlers_hear_them_too() -> None:
    code = """
import logging, structlog, sys
from actors.runtime.base.log import set_up_logging
class Bad:
    def __repr__(self):
        raise RecursionError
class Tracker(logging.Handler):
    def emit(self, record):
        print(f"tracked {record.name} {record.levelname} {'job.failed' in record.getMessage()}", file=sys.stderr)
set_up_logging("console")
log = structlog.get_logger("longhaul.job")
log.error("job.failed", shows=Bad())
log.info("job.failed", why="x\\x1b[2Jy")
log.debug("not.shown")
logging.getLogger().addHandler(Tracker(level=logging.WARNING))
log.warning("job.failed", job_id=3)
log.info("job.failed")
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "error longhaul.job: a line that cannot be shown: RecursionError" in ran.stdout
    assert "x\\x1b[2Jy" in ran.stdout
    assert "not.shown" not in ran.stdout
    assert ran.stderr == "tracked longhaul.job WARNING True\n"


@pytest.mark.parametrize("form", ["console", "json"])
def test_of_a_recursion_only_the_last_frames_are_in_the_log(form) -> None:
    code = f"""
import sys, structlog
from actors.runtime.base.log import set_up_logging
set_up_logging("{form}")
def down(n): return up(n)
def up(n): return down(n)
try: down(0)
except RecursionError: structlog.get_logger("x").exception("http.error")
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "RecursionError: maximum recursion depth exceeded" in ran.stdout
    assert 20 < ran.stdout.count("line ") < 40


def test_lines_of_others_that_say_what_ours_say_better_are_left_out() -> None:
    code = """
import logging
from actors.runtime.base.log import set_up_logging
set_up_logging("json")
for name in ("alembic.runtime", "dramatiq_pg.broker", "elsewhere"):
    logging.getLogger(name).info("info")
    logging.getLogger(name).warning("warning")
    logging.getLogger(name).debug("debug")
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [json.loads(line)["event"] for line in ran.stdout.splitlines()] == ["warning", "warning", "info", "warning"]


@pytest.mark.parametrize(("form", "coloured"), [("console", True), ("json", False)])
def test_on_a_terminal_lines_for_people_are_in_colours(form, coloured) -> None:
    ours, theirs = pty.openpty()
    try:
        command = [sys.executable, "-c", PROGRAM.format(form=form)]
        subprocess.run(command, cwd=ROOT, stdout=theirs, check=True)
        assert (b"\x1b[" in os.read(ours, 65536)) is coloured
    finally:
        os.close(ours)
        os.close(theirs)


HOSTILE = """
import logging, structlog
from actors.runtime.base.log import set_up_logging
set_up_logging({form!r})
said = "a\\x1b]0;owned\\x07b\\x1b[2Jc\\u202ed\\u061ce\\u200ff"
log = structlog.get_logger("longhaul.x")
log.info("http.unavailable", path=said, other=[said])
log.info(said)
logging.getLogger("a").error("x %s", said)
try:
    raise LookupError(said)
except LookupError:
    log.exception("http.error")
    logging.getLogger("a").exception("x")
"""


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("form", ["console", "json"])
def test_no_terminal_obeys_what_a_line_quotes(form, terminal) -> None:
    ours, theirs = pty.openpty() if terminal else os.pipe()
    try:
        subprocess.run([sys.executable, "-c", HOSTILE.format(form=form)], cwd=ROOT, stdout=theirs, check=True)
        shown = b""
        while shown.count(b"LookupError: ") < 2:
            shown += os.read(ours, 65536)
    finally:
        os.close(ours)
        os.close(theirs)
    without_colours = re.sub(rb"\x1b\[[0-9;]*m", b"", shown)
    for obeyed in ("\x1b", "\x07", "\u202e", "\u061c", "\u200f"):
        assert obeyed.encode() not in without_colours
    assert shown.count(b"]0;owned") == 6


def run(code: str, streams: str = "") -> "subprocess.CompletedProcess[str]":
    command = ["sh", "-c", f'exec "$0" -c "$1" {streams}', sys.executable, code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)


def test_a_handler_of_others_hears_of_each_line_with_its_name_and_its_level() -> None:
    ran = run("""
import logging, structlog, sys
from actors.runtime.base.log import set_up_logging
class Tracker(logging.Handler):
    def emit(self, record):
        print(record.name, record.levelname, record.getMessage().count("job.failed"), record.exc_info, file=sys.stderr)
set_up_logging("console")
logging.getLogger().addHandler(Tracker())
for name in (["longhaul.job"], []):
    log = structlog.get_logger(*name)
    for level in ("info", "warning", "error", "critical"):
        getattr(log, level)("job.failed")
""")
    names = [f"{name} {level}" for name in ("longhaul.job", "longhaul") for level in LEVELS]
    assert ran.stderr.splitlines() == [f"{name} 1 None" for name in names]
    assert ran.stdout.count("job.failed") == 8


LEVELS = ("INFO", "WARNING", "ERROR", "CRITICAL")


def test_who_set_up_logging_before_us_prints_no_line_of_ours_a_second_time() -> None:
    ran = run("""
import logging, sys, structlog
from actors.runtime.base.log import set_up_logging
logging.basicConfig(stream=sys.stderr)
set_up_logging("console")
set_up_logging("json")
logging.getLogger("a").warning("theirs")
try: 1 / 0
except ZeroDivisionError: logging.getLogger("a").exception("failed")
structlog.get_logger("b").warning("ours")
""")
    assert ran.stderr == ""
    theirs, failed, ours = (json.loads(line) for line in ran.stdout.splitlines())
    assert [line["event"] for line in (theirs, failed, ours)] == ["theirs", "failed", "ours"]
    assert failed["exception"].endswith("ZeroDivisionError: division by zero")


def test_what_is_no_text_and_a_stdout_that_is_closed_stop_nobody() -> None:
    code = """
import logging, structlog, sys
from actors.runtime.base.log import set_up_logging
set_up_logging("console")
structlog.get_logger("a").warning("mail.odd", subject="x\\ud800y")
logging.getLogger("a").warning("mail.odd x\\ud800y")
sys.stderr.write("done")
"""
    ran = run(code)
    assert ran.stdout.count("x\\ud800y") == 2
    assert run(code, "1>&-").stderr == ran.stderr == "done"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"job_id": 3, "why": None, "percent": 25.8, "done": True},
        {"text": "two words", "path": "/api/jobs", "empty": "", "tab": "a\tb", "lines": "a\nb\r", "sum": "1=1"},
        {"quote": "it's", "quotes": 'say "so"', "both": "'\"", "hebrew": "קבלה", "list": [1, "a"], "dict": {"a": 1}},
        {
            "z": 1,
            "a": 2,
            "level_": "x",
            "logger_": "y",
            "error": LookupError("boom"),
            "moment": datetime(2025, 1, 2, tzinfo=UTC),
        },
    ],
)
@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
@pytest.mark.parametrize("event", ["batch.done", "an event that is longer than thirty characters", ""])
def test_a_line_for_people_is_as_structlog_writes_it(event, level, fields) -> None:
    line = {"timestamp": "2025-01-02T03:04:05.000006Z", "level": level, "event": event, **fields}
    full = structlog.dev.ConsoleRenderer(colors=False)
    assert _plain(None)(None, level, dict(line)) == full(None, level, dict(line))


def test_a_line_with_a_trace_is_left_to_structlog() -> None:
    line = {"timestamp": "now", "level": "error", "event": "http.error"}
    for more in ({"exc_info": True}, {"exception": "Traceback"}, {"stack": "Stack"}):
        assert _plain(lambda *told: f"full {told[2]}")(None, "error", line | more) == f"full {line | more}"
    for none in ({"exc_info": None}, {"exc_info": False}, {"exception": None}):
        assert _plain(None)(None, "error", line | none) == "now [error    ] http.error"
