"""The whole system on this machine: the processes of the Procfile on private servers, started and stopped."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine

from actors.runtime.base.errors import LonghaulError
from service.local.client import Client
from service.local.embedded import free_port
from service.local.processes import start_process, stop_process, wait_until
from service.local.runs import LOCAL
from service.local.sandbox import sandbox
from sql.engine import make_engine


class Stopped(SystemExit):
    """A user or the system has asked us to stop."""


def stop_on_signals() -> None:
    """SIGTERM, SIGHUP (the terminal is gone) and Ctrl-C end the blocks that stop everything; only the first one counts.

    A shell's background job is born ignoring SIGINT.
    """

    def stop(number: int, _frame: object) -> None:
        for other in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(other, signal.SIG_IGN)
        raise Stopped(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop)


Check = Callable[[], None]


@contextmanager
def system(name: str, **settings: str) -> Iterator[tuple[dict[str, str], Client, Engine, Check]]:
    """release, web and worker from the Procfile; yields their environment, a client without a token, an engine, and a
    check that raises if one of them has died, with the end of its log.
    """
    stop_on_signals()
    print("Starting Postgres and S3 …", flush=True)
    with sandbox(name) as servers:
        environment = {**servers, "PORT": str(free_port()), "LOG_FORMAT": "json", **settings}
        engine = make_engine(environment["DATABASE_URL"], application_name=f"longhaul {name}")
        address = f"http://127.0.0.1:{environment['PORT']}"
        processes: dict[str, subprocess.Popen[bytes]] = {}

        def check() -> None:
            for process_name, process in processes.items():
                if process_name != "release" and process.poll() is not None:
                    raise LonghaulError(_died(name, process_name, process.returncode))

        try:
            print("Starting release, web and worker from the Procfile …", flush=True)
            for process_name in ("release", "web", "worker"):
                log_file = _log_file(name, process_name)
                log_file.touch(mode=0o600)
                with log_file.open("wb") as log:
                    processes[process_name] = start_process(process_name, environment, log)
                if process_name == "release" and (code := processes["release"].wait(60)) != 0:
                    raise LonghaulError(_died(name, "release", code))
            client = Client(address)
            wait_until(lambda: ready(client, check), 30, f"the web process; see {_log_file(name, 'web')}")
            yield environment, client, engine, check
        finally:
            print("Stopping …", flush=True)
            engine.dispose()
            for process in processes.values():
                stop_process(process)
    print("Stopped.", flush=True)


def _log_file(name: str, process_name: str) -> Path:
    return LOCAL / f"{name}-{process_name}.log"


def _died(name: str, process_name: str, code: int) -> str:
    last = "\n".join(_log_file(name, process_name).read_text(errors="replace").splitlines()[-15:])
    return f"The {process_name} process has ended with {code}; the end of its log:\n{last}"


def ready(client: Client, check: Check) -> bool:
    check()
    try:
        return client.get("/readyz").status == 200
    except OSError:
        return False
