"""What each run of demo, dev or the tests has started, recorded in .local/runs, so that a killed run can be cleaned up.

A record has a line for each process, database, folder and file; the next run here removes what a dead run left.
"""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

LOCAL = Path(__file__).parent.parent.parent / ".local"
RUNS = LOCAL / "runs"


def note(kind: str, value: object) -> None:
    """Of this run: `process` (a pid), `database` (a name), `folder` or `file` (a path)."""
    RUNS.mkdir(mode=0o700, parents=True, exist_ok=True)
    entry = {kind: [value, _began(int(str(value)))] if kind == "process" else value}
    with _file(os.getpid(), _began(os.getpid())).open("a") as file:
        file.write(json.dumps(entry) + "\n")


def forget() -> None:
    """This run has cleaned up after itself."""
    _file(os.getpid(), _began(os.getpid())).unlink(missing_ok=True)


def end_dead_runs() -> list[str]:
    """Ends the processes and removes the folders and files of dead runs; returns the names of their databases."""
    databases = []
    for file, entries in _dead():
        for entry in entries:
            if "process" in entry and _is(*entry["process"]):
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(entry["process"][0], signal.SIGKILL)
            elif "folder" in entry:
                shutil.rmtree(entry["folder"], ignore_errors=True)
                Path(entry["folder"]).with_suffix(".log").unlink(missing_ok=True)
            elif "file" in entry:
                Path(entry["file"]).unlink(missing_ok=True)
            elif "database" in entry:
                databases.append(entry["database"])
        with suppress(OSError):
            file.unlink()
    return databases


def end_dead_handles(folder: Path) -> None:
    """The embedded Postgres keeps a list of its users: a killed process would keep it running forever."""
    handles = folder / ".handle_pids.json"
    with suppress(OSError, ValueError):
        pids = json.loads(handles.read_text())
        alive = [pid for pid in pids if _uses_postgres(pid)]
        if alive != pids:
            handles.write_text(json.dumps(alive))


def _uses_postgres(pid: int) -> bool:
    try:
        return "python" in " ".join(psutil.Process(pid).cmdline()[:1])
    except psutil.Error:
        return False


def _dead() -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    for file in RUNS.glob("*.jsonl") if RUNS.exists() else ():
        with suppress(OSError, ValueError):
            pid, began = file.stem.split("-")
            if not _is(int(pid), float(began)):
                yield file, [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]


def _file(pid: int, began: float) -> Path:
    return RUNS / f"{pid}-{began}.jsonl"


def _began(pid: int) -> float:
    with suppress(psutil.Error):
        return float(psutil.Process(pid).create_time())
    return 0.0


def _is(pid: int, began: float) -> bool:
    """Is this process alive, and not a later one with the same pid?"""
    return abs(_began(pid) - began) < 0.05
