"""The import command as a process: its streams may be closed, pipes, or nobody's, and somebody may press Ctrl-C."""

import json
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Mapping

import pytest

from service.local.processes import ROOT, wait_until

HEADER = "vendor,amount,date\n"


@pytest.fixture
def business_id(make) -> int:
    return make.business()


@pytest.fixture
def command(environment: Mapping[str, str], business_id: int) -> Callable[..., str]:
    """command("FILE --dates auto"): the shell's words for an import with this environment."""

    def words(arguments: str) -> str:
        return f"{sys.executable} -m service import --business {business_id} {arguments}"

    return words


@pytest.fixture
def shell(environment: Mapping[str, str]) -> Callable[..., "subprocess.CompletedProcess[bytes]"]:
    def run(line: str, data: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        given = {**environment, "PATH": os.environ["PATH"]}
        return subprocess.run(["bash", "-c", line], cwd=ROOT, env=given, input=data, capture_output=True, timeout=60)

    return run


def lines(number: int, vendor: str = "Bar") -> str:
    return "".join(f"{vendor},{n % 900 + 1},2018-01-02\n" for n in range(number))


def test_stdin_is_read_and_its_dialect_found(command, shell, sql) -> None:
    for name, data in (
        ("csv", f"{HEADER}A,5,2018-01-02\n"),
        ("json", '{"vendor": "B", "amount": 6, "date": "2018-01-02"}'),
    ):
        done = shell(command("-"), data.encode())
        assert (done.returncode, done.stderr) == (0, b""), name
    assert [row["vendor"] for row in sql("SELECT vendor FROM receipts ORDER BY id")] == ["A", "B"]


def test_stdin_has_no_folder_but_can_be_given_one(command, shell, sql, tmp_path) -> None:
    (tmp_path / "1.pdf").write_bytes(b"%PDF-1.1\n")
    data = json.dumps({"vendor": "B", "amount": 6, "date": "2018-01-02", "pdf": "1.pdf"}).encode()
    assert b"--files-from DIR" in shell(command("-"), data).stderr
    assert shell(command(f"- --files-from {tmp_path}"), data).returncode == 0
    assert sql("SELECT size FROM attachments") == [{"size": 9}]


LONG = pytest.mark.scale  # several more of the same sort
STREAMS = [
    "2>&-",
    "2>&1 | true",
    *(pytest.param(more, marks=LONG) for more in (">&- 2>&-", "<&- 2>&-", "2> >(true)", "| true")),
]


@pytest.mark.parametrize("streams", STREAMS)
def test_an_import_whose_streams_are_closed_imports_all(streams: str, command, shell, sql, tmp_path) -> None:
    (tmp_path / "r.csv").write_text(HEADER + "bad,,\n" * 3000 + lines(3000))
    done = shell(f"set -o pipefail; {command(tmp_path / 'r.csv')} {streams}")
    assert sql("SELECT count(*) AS n FROM receipts") == [{"n": 3000}]
    assert b"Traceback" not in done.stdout + done.stderr
    assert b"Exception ignored" not in done.stderr
    assert done.returncode == 1  # as always when a line was left out


def test_a_log_gets_no_progress_bar_and_the_same_fault_not_200_000_times(command, shell, tmp_path) -> None:
    (tmp_path / "r.csv").write_text(HEADER + "Bar,,2018-01-02\n" * 5000 + lines(10))
    done = shell(command(tmp_path / "r.csv"))
    said = done.stderr.decode().splitlines()
    assert len(said) == 11
    assert said[0] == f"{tmp_path / 'r.csv'}, line 2: amount or total is missing"
    assert said[-1] == f"{tmp_path / 'r.csv'}, 4990 more lines: amount or total is missing"
    assert b"\r" not in done.stderr


def test_a_terminal_gets_a_progress_bar_and_may_go_away(command, environment, sql, tmp_path) -> None:
    (tmp_path / "r.csv").write_text(HEADER + lines(20_000))
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    given = {**environment, "PATH": os.environ["PATH"]}
    process = subprocess.Popen(
        ["sh", "-c", f"exec {command(tmp_path / 'r.csv')}"],
        cwd=ROOT,
        env=given,
        stderr=slave,
        stdout=subprocess.DEVNULL,
    )
    os.close(slave)
    shown = b""
    while b"lines/s" not in shown and process.poll() is None:
        shown += os.read(master, 1000)
    os.close(master)
    assert process.wait(60) == 0
    assert b"lines/s" in shown
    assert sql("SELECT count(*) AS n FROM receipts") == [{"n": 20_000}]


@pytest.mark.scale
def test_ctrl_c_says_what_was_done_and_running_again_goes_on(command, shell, environment, sql, tmp_path) -> None:
    (tmp_path / "r.csv").write_text(HEADER + lines(50_000))
    given = {**environment, "PATH": os.environ["PATH"]}
    process = subprocess.Popen(
        ["sh", "-c", f"exec {command(tmp_path / 'r.csv')}"],
        cwd=ROOT,
        env=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: sql("SELECT FROM receipts LIMIT 1"), 30, "the first batch")
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == "Interrupted. Run it again to continue.\n"
    made = sql("SELECT count(*) AS n FROM receipts")[0]["n"]
    assert f"{made} receipts created" in output
    assert made < 50_000
    again = subprocess.run(
        ["sh", "-c", command(tmp_path / "r.csv")], cwd=ROOT, env=given, capture_output=True, text=True
    )
    assert f"{50_000 - made} receipts created, {made} existed already" in again.stdout


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("utf-16-without-a-mark", ("vendor,amount,date\n" * 1).encode("utf-16-le") * 250_000),
        pytest.param("binary", bytes(range(256)) * 40_000, marks=LONG),
        pytest.param("workbook", b"PK\x03\x04" + bytes(range(256)) * 40_000, marks=LONG),
        ("one-line", b"x" * 10_000_000),
        pytest.param("one-line-of-json", b'{"vendor": "' + b"x" * 10_000_000 + b'"}', marks=LONG),
        ("wrong-columns", b"a;b;c\n" + b"1;2;3\n" * 1_600_000),
        pytest.param("html", b"<html>" + b"<tr><td>5</td></tr>\n" * 500_000, marks=LONG),
        pytest.param("json-document", b"[\n" + b'{"vendor": "X"},\n' * 500_000, marks=LONG),
        ("hebrew", ("vendor,amount,date\n" + "סופר פארם,5.00,2018-01-02\n" * 400_000).encode("cp1255")),
        pytest.param("one-quote", b'vendor,amount,date\n"' + b"Bar 5 2018-01-02 " * 600_000, marks=LONG),
    ],
)
def test_ten_million_bytes_of_the_wrong_kind_end_in_seconds_with_one_sentence(
    name: str, data: bytes, command, shell, sql, tmp_path
) -> None:
    file = tmp_path / name
    file.write_bytes(data)
    done = shell(command(file))  # which is killed after a minute
    assert done.returncode == 1
    assert len(done.stderr.decode().splitlines()) == 1, done.stderr[:2000]
    assert len(done.stderr) < 600
    assert sql("SELECT FROM receipts") == []
