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

from service.processes import wait_until

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

    wait_until(lambda: not left(), 10, f"everything to be gone; left: {left()}")


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


def test_the_demo_proves_itself_and_does_so_again_from_the_same_folder(copy: Path) -> None:
    for _ in range(2):
        demo = service(copy, "demo", "--receipts", "220")
        printed, _ = demo.communicate(timeout=100)
        assert demo.returncode == 0, printed
        assert "ok  receipts left in Postgres: 0" in printed
        assert "ok  objects left in the bucket: 0" in printed
        assert "ok  processed: 220" in printed
        assert "Proved: everything is gone" in printed


def test_a_demo_that_is_interrupted_leaves_nothing_running(copy: Path) -> None:
    demo = service(copy, "demo", "--receipts", "5000")
    assert demo.stdout is not None
    wait_until(lambda: "Starting release" in demo.stdout.readline(), 30, "the start")
    demo.send_signal(signal.SIGTERM)
    demo.communicate(timeout=60)
    assert demo.returncode == 143


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
    dev.communicate(timeout=60)
    assert dev.returncode == 0
