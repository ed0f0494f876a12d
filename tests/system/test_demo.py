"""`make demo` and `make dev`, in a copy of the project of their own, and the README's lines as printed."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from service.local.processes import wait_until

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def copy(tmp_path: Path):
    """The project in another folder; no process of it may be left at the end."""
    folder = tmp_path / "project"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".venv", ".local", ".git", ".*_cache", "__pycache__"))
    yield folder

    def left() -> list[str]:
        lines = []
        for process in psutil.process_iter(["cmdline", "cwd"]):
            if str(folder) in " ".join([*(process.info["cmdline"] or ()), process.info["cwd"] or ""]):
                lines.append(str(process.info))
        return lines

    wait_until(lambda: not left(), 30, f"everything to be gone; left: {left()}")


def service(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-m", "service", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.scale)])
def test_the_demo_proves_itself_and_does_so_again_from_the_same_folder(times: int, copy: Path) -> None:
    for _ in range(times):
        demo = service(copy, "demo", "--receipts", "220")
        printed, _ = demo.communicate(timeout=100)
        assert demo.returncode == 0, printed
        assert "ok  receipts left in Postgres: 0" in printed
        assert "ok  objects left in the bucket: 0" in printed
        assert "ok  receipts found: 24" in printed
        assert "ok  their amounts: 24 of 24 right" in printed
        assert "ok  processed: 244" in printed
        assert "Proved: everything is gone" in printed


@pytest.mark.scale
def test_a_demo_that_is_interrupted_leaves_nothing_running(copy: Path) -> None:
    demo = service(copy, "demo", "--receipts", "5000")
    assert demo.stdout is not None
    wait_until(lambda: "Starting release" in demo.stdout.readline(), 30, "the start")
    demo.send_signal(signal.SIGTERM)
    demo.communicate(timeout=60)
    assert demo.returncode == 143


@pytest.mark.scale
def test_the_curl_lines_of_the_readme_work_as_printed_against_make_dev(copy: Path) -> None:
    dev = service(copy, "dev")
    assert dev.stdout is not None
    exports = []
    for line in dev.stdout:
        if line.startswith("export "):
            exports.append(line.strip())
        if "Ctrl-C" in line:
            break
    assert len(exports) == 2
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("curl ")]
    assert len(lines) >= 8
    for line in lines:
        done = subprocess.run(
            ["bash", "-c", "\n".join([*exports, "JOB=1", line])], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (line, done.stderr)
        assert '"success": true' in done.stdout, (line, done.stdout)
    dev.send_signal(signal.SIGINT)
    said, _ = dev.communicate(timeout=60)
    assert dev.returncode == 0, said


def started(process: "subprocess.Popen[str]", what: str) -> list[str]:
    """The lines that it prints, up to one with `what` in it."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if what in line:
            return lines
    raise AssertionError("".join(lines))


@pytest.mark.scale
def test_a_dev_whose_terminal_is_closed_leaves_nothing_and_says_stopped(copy: Path) -> None:
    dev = service(copy, "dev")
    started(dev, "Ctrl-C")
    dev.send_signal(signal.SIGHUP)
    printed, _ = dev.communicate(timeout=60)
    assert dev.returncode == 0, printed
    assert printed.splitlines()[-1] == "Stopped."
    assert "Traceback" not in printed
    assert list((copy / ".local").glob("dev-*.url")) == []


@pytest.mark.scale
def test_two_devs_in_one_folder_know_their_own_database_and_nobody_else_may_look(copy: Path) -> None:
    first = service(copy, "dev")
    lines = started(first, "Ctrl-C")
    second = service(copy, "dev")
    started(second, "Ctrl-C")
    assert len(list((copy / ".local").glob("dev-*.url"))) == 2
    second.send_signal(signal.SIGTERM)
    second.communicate(timeout=60)
    (left,) = (copy / ".local").glob("dev-*.url")
    assert left.stem == f"dev-{first.pid}"
    assert left.stat().st_mode & 0o077 == 0
    address = next(line for line in lines if "LONGHAUL=" in line).partition("=")[2].strip()
    port = int(address.rpartition(":")[2])
    bound = {c.laddr.ip for c in psutil.net_connections("tcp") if c.laddr.port == port and c.status == "LISTEN"}
    assert bound == {"127.0.0.1"}
    commands = [" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])]
    assert any("serve s3" in command and str(copy) in command for command in commands)
    assert not any("--auth-key" in command for command in commands)
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)


@pytest.mark.scale
def test_what_a_killed_dev_left_is_tidied_up_by_the_next_run(copy: Path) -> None:
    dev = service(copy, "dev")
    started(dev, "Ctrl-C")
    dev.kill()
    dev.communicate()
    demo = service(copy, "demo", "--receipts", "20")
    printed, _ = demo.communicate(timeout=100)
    assert demo.returncode == 0, printed
    assert list((copy / ".local" / "runs").iterdir()) == []
    left = [path.name for path in (copy / ".local").iterdir()]
    assert [name for name in left if name.startswith("longhaul_") or name.endswith(".url")] == []
    # That nothing of it still runs is what `copy` looks for.


def test_a_demo_whose_worker_cannot_start_says_why_at_once(copy: Path) -> None:
    (copy / "actors" / "broken.py").write_text("import nowhere\n")
    demo = service(copy, "demo", "--receipts", "20")
    printed, _ = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert "The w" in printed
    assert "actors/broken.py cannot be imported" in printed
    assert "Traceback" not in printed.partition("the end of its log")[0]


@pytest.mark.scale
def test_a_test_run_whose_terminal_is_closed_stops_its_servers(copy: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "tests/sql"]
    run = subprocess.Popen(
        command,
        cwd=copy,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # ours may be ignored: nohup
    )
    started(run, "%]")
    os.killpg(run.pid, signal.SIGHUP)
    printed, _ = run.communicate(timeout=60)
    assert "KeyboardInterrupt" in printed
    # That nothing of it still runs is what `copy` looks for.
