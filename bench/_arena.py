"""Servers for all contenders, and their workers: each meets the same machine, an empty queue and 2 x 8 threads."""

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
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench import _contenders
from service.embedded import free_port
from service.processes import signal_group, stop_process, wait_until
from service.sandbox import database, sandbox

ROOT = Path(__file__).parent.parent


class Arena:
    def __init__(self, environment: dict[str, str], redis: str | None) -> None:
        self._environment = environment
        self._redis = redis
        self.contenders: list[Any] = []
        self.left_out: list[str] = []
        names = sorted(module.name for module in pkgutil.iter_modules(_contenders.__path__))
        for name in sorted(names, key=lambda name: name != "longhaul"):  # ours first, as the measure of the others
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
        """The contenders without those that send as another does, and differ in their workers only."""
        return list({contender.send: contender for contender in reversed(self.contenders)}.values())[::-1]

    @contextmanager
    def ready(self, contender: Any) -> Iterator[None]:
        """An empty queue, reached by the environment of this process."""
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
        """Its workers; yields the folder of their effects."""
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
            yield Path(os.environ["BENCH_EFFECTS"])

    def footnote(self) -> str:
        return f"\nLeft out: {', '.join(self.left_out)}.\n" if self.left_out else ""


@contextmanager
def arena() -> Iterator[Arena]:
    with ExitStack() as defer:
        environment = defer.enter_context(sandbox("bench"))
        redis = defer.enter_context(_redis()) if shutil.which("redis-server") else None
        # Before the contenders are imported: some read the environment then.
        defer.enter_context(patch.dict(os.environ, {**environment, "REDIS_URL": redis or ""}))
        yield Arena(environment, redis)


@contextmanager
def _redis() -> Iterator[str]:
    """A Redis that writes nothing to disk, as the Postgres here does not wait for it."""
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
        yield url
    finally:
        stop_process(process)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
