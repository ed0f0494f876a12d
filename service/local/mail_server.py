"""An IMAP server with one mailbox in memory, for demo, dev and the tests: pymap, in a separate process.

Its password is passed in the environment: everybody on the machine can see command lines.
"""

import imaplib
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from service.local import runs
from service.local.embedded import free_port
from service.local.processes import stop_process, wait_until


@dataclass
class MailServer:
    port: int
    user: str
    password: str
    process: Any = None

    def start(self) -> None:
        environment = {**os.environ, "MAIL": f"{self.port} {self.user} {self.password}"}
        command = [sys.executable, "-m", "service.local.mail_server"]
        self.process = subprocess.Popen(command, env=environment, stdout=-3, stderr=-3, start_new_session=True)
        runs.note("process", self.process.pid)
        wait_until(self.answers, 30, "the mail server")

    def stop(self) -> None:
        stop_process(self.process, 0)

    def answers(self) -> bool:
        try:
            self.client().logout()
        except OSError:
            return False
        return True

    def client(self) -> imaplib.IMAP4:
        client = imaplib.IMAP4("127.0.0.1", self.port, timeout=20)
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else each append takes 40 ms
        client.login(self.user, self.password)
        return client

    def fill(self, mails: Iterable[tuple[bytes, datetime]], folder: str = "INBOX") -> None:
        """Puts mails into the folder, each received now."""
        client = self.client()
        for raw, moment in mails:
            date = imaplib.Time2Internaldate(moment)
            client.append(folder, "", date, raw)
        client.logout()

    @property
    def params(self) -> dict[str, Any]:
        """The body of POST /api/connections."""
        return {
            "provider": "imap",
            "host": "127.0.0.1",
            "port": self.port,
            "tls": "none",
            "user": self.user,
            "password": self.password,
        }


@contextmanager
def mail_server(user: str = "dana", password: str = "not-a-secret") -> Iterator[MailServer]:  # noqa: S107 - made up
    server = MailServer(free_port(), user, password)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def main() -> None:
    from pymap import config
    from pymap.main import main as run
    from pysasl.hashing import BuiltinHash

    # By default a log-in takes a tenth of a second, for the sake of stored passwords; this one is in memory only.
    config.BuiltinHash = partial(BuiltinHash, rounds=1)  # type: ignore
    port, user, password = os.environ["MAIL"].split()
    where = ["--host", "127.0.0.1", "--port", port, "--no-tls"]
    sys.argv = ["pymap", *where, "dict", "--demo-user", user, "--demo-password", password]
    run()


if __name__ == "__main__":
    main()
