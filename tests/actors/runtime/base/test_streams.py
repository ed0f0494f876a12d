"""Lines that nobody reads hold up nobody, and none that can be written is lost."""

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.runtime.base.streams import Lines
from service.local.processes import wait_until

ROOT = Path(__file__).parent.parent.parent.parent.parent

SET_UP = """
import multiprocessing, os, sys, time, structlog
from actors.runtime.base.log import set_up_logging
from actors.runtime.base.streams import STDOUT, print_without_waiting
set_up_logging("json")
log = structlog.get_logger("longhaul.x")
"""


def run(program: str, **options) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", SET_UP + program], cwd=ROOT, **options)


def full_pipe() -> tuple[int, int]:
    """Both ends of a pipe that takes nothing more."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        while True:
            os.write(write, b"." * 4095 + b"\n")
    except BlockingIOError:
        os.set_blocking(write, True)
    return read, write


def events(output: bytes) -> list[dict]:
    return [json.loads(line) for line in output.splitlines() if line.startswith(b"{")]


def test_a_stdout_that_nobody_reads_holds_up_neither_the_work_nor_the_end() -> None:
    read, write = full_pipe()
    began = time.monotonic()
    process = run(
        """
for n in range(12_000): log.info("line", n=n)
print("done", file=sys.stderr, flush=True)
""",
        stdout=write,
        stderr=subprocess.PIPE,
    )
    assert process.communicate(timeout=60) == (None, b"done\n")
    assert process.returncode == 0
    assert time.monotonic() - began < 45
    os.close(read)
    os.close(write)


def read_late(program: str) -> list[dict]:
    """The events of a program whose stdout nobody reads until it has printed "logged" on stderr."""
    read, write = full_pipe()
    process = run(program, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    with process.stderr, os.fdopen(read, "rb") as output:
        assert process.stderr.readline() == b"logged\n"
        found = events(output.read())
    assert process.wait(30) == 0
    return found


def test_dropped_lines_are_counted_and_told_in_their_place_once_it_flows_again() -> None:
    found = read_late(
        """
for n in range(12_000): log.info("line", n=n)
STDOUT.flush(0.01)
log.info("lost too")
print("logged", file=sys.stderr)
STDOUT.flush(10)
log.info("again")
"""
    )
    lines = [event["n"] for event in found if event["event"] == "line"]
    lost = [event["lines"] for event in found if event["event"] == "log.lines_lost"]
    assert lines == list(range(len(lines)))
    assert len(lines) >= 10_000
    assert lost == [12_001 - len(lines)]
    assert [event["event"] for event in found[-2:]] == ["log.lines_lost", "again"]


def test_long_lines_that_nobody_reads_are_bounded_by_their_bytes() -> None:
    found = read_late(
        """
for n in range(100): log.info("line", n=n, text="x" * 1_000_000)
print("logged", file=sys.stderr)
STDOUT.flush(30)
log.info("again")
"""
    )
    lines = [event["n"] for event in found if event["event"] == "line"]
    assert lines == list(range(20))
    assert [event["lines"] for event in found if event["event"] == "log.lines_lost"] == [80]
    assert found[-1]["event"] == "again"


ENDS = {
    "an exit": "sys.exit(3)",
    "a crash": "raise LookupError('boom')",
    "a crash whose prints do not wait": "print_without_waiting(); raise LookupError('boom')",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=list(ENDS))
def test_the_last_lines_before_the_end_of_a_process_are_written(end: str) -> None:
    process = run(f"for n in range(500): log.info('line', n=n)\n{end}", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = process.communicate(timeout=60)
    assert [event["n"] for event in events(output)] == list(range(500))
    assert (b"boom" in errors) == ("boom" in end)
    assert process.returncode != 0


def test_what_was_printed_right_before_an_orderly_end_is_written() -> None:
    """No traceback comes behind it, and no log line, which would flush it."""
    program = "import sys\nfrom actors.runtime.base.streams import print_without_waiting\nprint_without_waiting()\n"
    program += "for n in range(1000): print(n, file=sys.stderr)"
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE)
    assert process.communicate(timeout=60)[1].split() == [b"%d" % n for n in range(1000)]


CHILD_ENDS = {"its end": "pass", "an exit": "sys.exit(3)", "a crash": "raise LookupError('boom')"}


@pytest.mark.parametrize("end", CHILD_ENDS.values(), ids=list(CHILD_ENDS))
def test_a_forked_process_writes_its_own_last_lines_and_none_of_its_parents(end: str) -> None:
    """Dramatiq's worker processes: multiprocessing's, at whose end Python does not do all that it does elsewhere."""
    process = run(
        f"""
def work():
    print_without_waiting()
    for n in range(500): log.info("child", n=n)
    {end}
for n in range(500): log.info("parent", n=n)
child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join()
""",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = process.communicate(timeout=60)
    for who in ("parent", "child"):
        assert [event["n"] for event in events(output) if event["event"] == who] == list(range(500))
    assert (b"boom" in errors) == ("boom" in end)


def test_a_line_from_a_signal_handler_that_interrupts_a_line_is_written() -> None:
    process = run(
        """
import signal
signal.signal(signal.SIGALRM, lambda *_: log.info("alarm"))
signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
for n in range(3000): log.info("line", n=n)
signal.setitimer(signal.ITIMER_REAL, 0)
""",
        stdout=subprocess.PIPE,
    )
    found = events(process.communicate(timeout=60)[0])
    assert [event["n"] for event in found if event["event"] == "line"] == list(range(3000))
    assert [event for event in found if event["event"] == "alarm"]


def test_a_stdout_that_somebody_made_non_blocking_loses_no_line() -> None:
    read, write = full_pipe()
    os.set_blocking(write, False)
    process = run("for n in range(2000): log.info('line', n=n)\nSTDOUT.flush(10)", stdout=write)
    os.close(write)
    with os.fdopen(read, "rb") as output:
        found = events(output.read())
    assert process.wait(30) == 0
    assert [event["n"] for event in found] == list(range(2000))


def test_a_line_is_written_while_python_ends() -> None:
    program = "import threading\nthreading._register_atexit(lambda: None)\nimport atexit\n"
    program += "atexit.register(lambda: [log.info(line) for line in ('last', 'very last')])"
    process = run(program, stdout=subprocess.PIPE)
    assert [event["event"] for event in events(process.communicate(timeout=60)[0])] == ["last", "very last"]


def test_when_python_has_stopped_its_threads_a_flush_waits_for_none(monkeypatch) -> None:
    read, write = full_pipe()
    lines = Lines(write)
    lines.put(b"waits for a reader")
    monkeypatch.setattr(sys, "is_finalizing", lambda: True)
    began = time.monotonic()
    lines.flush(60)
    assert time.monotonic() - began < 30
    os.close(read)
    wait_until(lambda: not lines._bytes, 30, "the line to be given up")  # the file's number is soon another's
    os.close(write)


def test_lines_that_come_together_are_written_together_and_each_stays_whole() -> None:
    """A pipe takes so much in one piece, even if other processes write to it."""
    lines = [b"%d " % n + b"x" * 200 + b"\n" for n in range(100)]
    lines[50] = b"y" * 9000 + b"\n"
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # keeps apart what is written apart
    with reader, writer:
        reader.settimeout(30)
        waiting = Lines(writer.fileno())
        for line in lines:
            waiting.put(line)
        written: list[bytes] = []
        while sum(map(len, written)) < sum(map(len, lines)):
            written.append(reader.recv(20_000))
    assert b"".join(written) == b"".join(lines)
    assert lines[50] in written
    assert all(piece.endswith(b"\n") and (len(piece) <= select.PIPE_BUF or piece == lines[50]) for piece in written)
    assert len(written) < len(lines) / 2


def test_a_flush_waits_for_the_lines_before_it_and_not_for_those_after_it() -> None:
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with reader, writer:
        reader.settimeout(30)
        waiting = Lines(writer.fileno())
        for n in range(3):
            waiting.put(b"%d\n" % n)
            waiting.flush(seconds=30)
            assert reader.recv(99) == b"%d\n" % n


@pytest.fixture
def unread() -> Iterator[tuple[int, int]]:
    """Both ends of a full pipe; afterwards what is stuck in it is let go."""
    read, write = full_pipe()
    yield read, write
    os.close(read)
    os.close(write)


def test_a_flush_of_what_was_never_written_to_waits_for_nothing(unread) -> None:
    began = time.monotonic()
    Lines(unread[1]).flush(60)
    assert time.monotonic() - began < 30


def test_without_a_thread_a_line_is_written_at_once_or_not_at_all(unread, monkeypatch) -> None:
    """Python is exiting: who reads nothing by now holds up no end."""
    read, write = unread
    lines = Lines(write)
    monkeypatch.setattr(lines, "_start", lambda: False)
    lines.put(b"nobody reads\n")
    while select.select([read], [], [], 0)[0]:
        assert b"nobody" not in os.read(read, 65536)
    lines.put(b"somebody does\n")
    assert os.read(read, 100) == b"somebody does\n"


@pytest.mark.parametrize(
    ("line", "most", "size"), [(b".", 10_000, 1), (bytes(1_000_000), 20, 1_000_000)], ids=["lines", "bytes"]
)
def test_after_a_loss_there_is_room_again_once_half_is_written(line, most, size, monkeypatch) -> None:
    lines = Lines(1)
    monkeypatch.setattr(lines, "_thread", object())  # one that writes nothing
    for _ in range(most):
        lines.put(line)
    assert lines._waiting.qsize() == most
    assert lines.take_lost() == 0
    for _ in range(3):
        lines.put(line)
    for _ in range(most // 2):
        assert lines.take_lost() == 0
        lines._waiting.get()
        lines._bytes -= size
    assert lines.take_lost() == 0  # what waits is just half
    lines._waiting.get()
    lines._bytes -= size
    assert lines.take_lost() == 3
    assert lines.take_lost() == 0  # each is told once


def test_what_stands_in_for_stdout_and_stderr_is_a_file_of_text() -> None:
    process = run(
        """
print_without_waiting()
files = sys.stdout, sys.stderr
said = [(one.encoding, one.fileno(), one.writable(), one.isatty()) for one in files]
print(said, [one.write("\\ud800ab\\n") for one in files])
""",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = process.communicate(timeout=60)
    expected = [("utf-8", 1, True, False), ("utf-8", 2, True, False)]
    assert output.decode() == f"\\ud800ab\n{expected} [4, 4]\n"
    assert errors == b"\\ud800ab\n"


@pytest.mark.parametrize("closed", ["0<&- 1>&- 2>&-", "0<&-", "1>&-", "2>&-", "0<&- 2>&-", ""])
def test_streams_that_are_closed_are_opened_and_all_others_left_alone(closed, tmp_path) -> None:
    """Also for the processes that it starts: who gets the number 1 or 2 would get our lines."""
    program = """
import os, subprocess, sys
from actors.runtime.base.streams import open_standard_streams
open_standard_streams()
child = [sys.executable, "-c", "import os; [os.fstat(number) for number in (0, 1, 2)]"]
status = subprocess.run(child, close_fds=False).returncode
at = [os.readlink(f"/proc/self/fd/{number}") for number in (0, 1, 2)]
modes = [(one.fileno(), one.readable(), one.writable()) for one in (sys.stdin, sys.stdout, sys.stderr)]
sys.stdout.write("")
os.write(int(sys.argv[1]), repr((at, modes, status, os.open(os.devnull, os.O_RDONLY))).encode())
"""
    files = [tmp_path / name for name in ("in", "out", "err")]
    for file in files:
        file.touch()
    read, write = os.pipe()
    shell = f'exec "$0" -c "$1" {write} 0<"$2" 1>"$3" 2>"$4" {closed}'
    subprocess.run(["sh", "-c", shell, sys.executable, program, *files], cwd=ROOT, check=True, pass_fds=[write])
    os.close(write)
    with os.fdopen(read) as said:
        at, modes, status, free = eval(said.read())  # noqa: S307 - what the program above has printed
    kept = [f"{number}{'<' if number == 0 else '>'}&-" not in closed for number in (0, 1, 2)]
    assert at == [str(file) if keep else os.devnull for file, keep in zip(files, kept, strict=True)]
    assert [mode[0] for mode in modes] == [0, 1, 2]
    assert [(mode[1], mode[2]) for mode in modes] == [(True, False), (False, True), (False, True)]
    assert status == 0
    assert free > 2
    assert files[2].read_text() == ""
