"""Mail servers for one test after the other: each is a fork of a process that has loaded pymap, and starts at once."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil

from service.local import mail_server, runs
from service.local.embedded import free_port
from service.local.mail_server import MailServer
from service.local.processes import ROOT, wait_until


@dataclass
class Fork(MailServer):
    """Of `parent`; its `process` is a pid."""

    parent: "subprocess.Popen[str] | None" = None

    def start(self) -> None:
        assert self.parent
        assert self.parent.stdin
        assert self.parent.stdout
        self.parent.stdin.write(f"{self.port} {self.user} {self.password}\n")
        self.parent.stdin.flush()
        self.process = int(self.parent.stdout.readline())
        runs.note("process", self.process)
        wait_until(self.answers, 30, "the mail server")

    def stop(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.process, signal.SIGKILL)
        wait_until(lambda: not psutil.pid_exists(self.process), 30, "the mail server to end")


class MailServers:
    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.mail_servers"]
        self._parent = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
        )
        runs.note("process", self._parent.pid)

    @contextmanager
    def one(self) -> Iterator[MailServer]:
        """A server with one empty mailbox."""
        server = Fork(free_port(), "dana", "not-a-secret", parent=self._parent)
        server.start()
        try:
            yield server
        finally:
            server.stop()

    def close(self) -> None:
        self._parent.communicate("", timeout=20)


def main() -> None:
    from pymap.backend import backends
    from pymap.service import services

    for plugins in (backends, services):
        list(plugins.items())  # loads them
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a child's end
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os.setsid()
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream in range(3):
                os.dup2(nothing, stream)
            os.environ["MAIL"] = line
            mail_server.main()
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
