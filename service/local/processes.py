"""Starts the processes of the Procfile as a platform would, and stops them again. For demo, dev and the tests."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from service.local import runs

ROOT = Path(__file__).parent.parent.parent


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Waits until `condition()` is true; TimeoutError naming `what` if it is not within `seconds`."""
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        if waited > seconds:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(min(0.02 + waited / 50, 0.1))


def procfile(root: Path = ROOT) -> dict[str, str]:
    """Process name → command line."""
    lines = (root / "Procfile").read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines if line)


def start_process(
    name: str, environment: Mapping[str, str], output: IO[bytes] | int, root: Path = ROOT
) -> "subprocess.Popen[bytes]":
    """Starts one line of the Procfile in its own process group, with only this environment and PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    process = subprocess.Popen(
        ["sh", "-c", f"exec {procfile(root)[name]}"],
        cwd=root,
        env={"PATH": path, "HOME": os.environ.get("HOME", "/"), "WEB_BIND": "127.0.0.1", **environment},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    runs.note("process", process.pid)
    return process


def signal_group(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """Signals every process of a dyno at once, as the platform does."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def stop_process(process: "subprocess.Popen[bytes]", seconds: float = 30) -> int:
    """SIGTERM to the whole group, SIGKILL after `seconds`; returns the exit code."""
    if process.poll() is None:
        signal_group(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    signal_group(process, signal.SIGKILL)  # whatever is left of the group
    return process.wait()
