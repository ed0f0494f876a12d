"""Servers for all contenders, and their workers: each gets the same machine, an empty queue and 2 x 8 threads."""

import importlib
import os
import pkgutil
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

from bench import _contenders
from service.local.embedded import free_port
from service.local.processes import signal_group, stop_process, wait_until
from service.local.runs import LOCAL
from service.local.sandbox import database, sandbox

ROOT = Path(__file__).parent.parent


class Arena:
    def __init__(self, environment: dict[str, str], redis: str | None, servers: dict[str, psutil.Process]) -> None:
        self._environment = environment
        self._redis = redis
        self._servers = servers
        self._workers: list[psutil.Process] = []
        self.contenders: list[Any] = []
        self.left_out: list[str] = []
        names = sorted(module.name for module in pkgutil.iter_modules(_contenders.__path__))
        for name in sorted(names, key=lambda name: name != "longhaul"):  # ours first: the others are compared with it
            try:
                contender = importlib.import_module(f"bench._contenders.{name}")
            except ImportError as error:
                self.left_out.append(f"{name.strip('_')} ({error.name} is not installed)")
                continue
            if contender.SERVER == "redis" and redis is None:
                self.left_out.append(f"{contender.TITLE} (redis-server is not installed)")
            else:
                self.contenders.append(contender)

    @property
    def senders(self) -> list[Any]:
        """The contenders without those that send like another and differ only in their workers."""
        return list({contender.send: contender for contender in reversed(self.contenders)}.values())[::-1]

    @contextmanager
    def ready(self, contender: Any) -> Iterator[None]:
        """An empty queue, reachable through this process's environment."""
        with ExitStack() as defer:
            given = {**self._environment, "REDIS_URL": self._redis or ""}
            if contender.SERVER == "postgres":
                name = f"longhaul_bench_{secrets.token_hex(4)}"
                given["DATABASE_URL"] = defer.enter_context(database(self._environment["DATABASE_URL"], name))
            else:
                subprocess.run(["redis-cli", "-u", given["REDIS_URL"], "FLUSHALL"], check=True, capture_output=True)
            given["BENCH_EFFECTS"] = defer.enter_context(tempfile.TemporaryDirectory())
            defer.enter_context(patch.dict(os.environ, given))
            contender.install()
            yield

    @contextmanager
    def working(self, contender: Any) -> Iterator[Path]:
        """Runs its workers; yields the folder of their effects."""
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        with ExitStack() as defer:
            for command in contender.COMMANDS:
                process = subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env={**environment, "PYTHONPATH": str(ROOT)},
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
                defer.callback(stop_process, process)
                defer.callback(signal_group, process, signal.SIGKILL)
                self._workers.append(psutil.Process(process.pid))
            defer.callback(self._workers.clear)
            yield Path(os.environ["BENCH_EFFECTS"])

    def cpu_seconds(self, contender: Any) -> tuple[float, float]:
        """The CPU time used so far by its workers and its server; 0 for a server that was not started here."""
        server = self._servers.get(contender.SERVER)
        return cpu_seconds(self._workers), cpu_seconds([server] if server else [])

    def footnote(self) -> str:
        return f"\nLeft out: {', '.join(self.left_out)}.\n" if self.left_out else ""


def cpu_seconds(processes: list[psutil.Process]) -> float:
    """Of these and all their child processes, including ended ones."""
    seconds = 0.0
    for process in processes:
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                times = one.cpu_times()
                seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


@contextmanager
def arena() -> Iterator[Arena]:
    with ExitStack() as defer:
        servers = {}
        own_postgres = not os.environ.get("DATABASE_URL")
        environment = defer.enter_context(sandbox("bench"))
        if own_postgres:
            pid_file = LOCAL / "postgres" / "postmaster.pid"
            servers["postgres"] = psutil.Process(int(pid_file.read_text().split()[0]))
        redis = None
        if shutil.which("redis-server"):
            redis, servers["redis"] = defer.enter_context(_redis())
        # Before the contenders are imported, because some read the environment then.
        defer.enter_context(patch.dict(os.environ, {**environment, "REDIS_URL": redis or ""}))
        yield Arena(environment, redis, servers)


@contextmanager
def _redis() -> Iterator[tuple[str, psutil.Process]]:
    """A Redis that writes nothing to disk, because the Postgres here does not wait for its disk either."""
    port = free_port()
    process = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"redis://127.0.0.1:{port}/0"

    def answers() -> bool:
        done = subprocess.run(["redis-cli", "-u", url, "PING"], capture_output=True, check=False)
        return done.stdout.strip() == b"PONG"

    try:
        wait_until(answers, 10, "Redis to answer")
        yield url, psutil.Process(process.pid)
    finally:
        stop_process(process)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
