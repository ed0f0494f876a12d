"""A mail server that does whatever a test tells it to, until the client hangs up."""

import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

SELECTED = "* 1 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 2] ok\r\n"


class Hostile:
    """`heard`: what the client sent; `sent`: bytes to it; `hung_up`: a connection has ended."""

    def __init__(self, behave: Callable[["Hostile", socket.socket], Any]) -> None:
        self._behave = behave
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.heard, self.sent = b"", 0
        self.accepted, self.hung_up = Event(), Event()
        Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        self.accepted.set()
        with connection:
            try:
                self._behave(self, connection)
                while connection.recv(4096):
                    pass
            except OSError:
                pass
        self.hung_up.set()

    def say(self, connection: socket.socket, said: bytes) -> None:
        connection.sendall(said)
        self.sent += len(said)


@contextmanager
def hostile(behave: Callable[[Hostile, socket.socket], Any]) -> Iterator[Hostile]:
    server = Hostile(behave)
    yield server
    server.listening.close()


def silent(_server: Hostile, _connection: socket.socket) -> None:
    """Never greets."""


def endless(said: bytes) -> Callable[[Hostile, socket.socket], None]:
    """Greets and then says this, for ever."""

    def behave(server: Hostile, connection: socket.socket) -> None:
        server.say(connection, b"* OK ready\r\n")
        while True:
            server.say(connection, said)

    return behave


def dripping(server: Hostile, connection: socket.socket) -> None:
    """Greets, and never ends the next line."""
    server.say(connection, b"* OK ready\r\n* ")
    while True:
        time.sleep(0.1)  # the fault itself: a byte every so often, within any limit of a single read
        server.say(connection, b"a")


def until_uid(then: Callable[[Hostile, socket.socket], Any]) -> Callable[[Hostile, socket.socket], None]:
    """Lets everybody in, and behaves so at the first UID command."""

    def behave(server: Hostile, connection: socket.socket) -> None:
        server.say(connection, b"* OK ready\r\n")
        lines = connection.makefile("rb")
        for line in lines:
            server.heard += line
            tag, command = re.split(rb"\s", line)[:2]
            if command == b"UID":
                then(server, connection)
                return
            more = b"* CAPABILITY IMAP4rev1\r\n" if command == b"CAPABILITY" else b""
            more += SELECTED.encode() if command == b"EXAMINE" else b""
            server.say(connection, more + tag + b" OK done\r\n")

    return behave


def literals(number: int) -> Callable[[Hostile, socket.socket], None]:
    """Mail after mail of so many bytes within one answer."""

    def behave(server: Hostile, connection: socket.socket) -> None:
        while True:
            server.say(connection, b"* 1 FETCH (UID 1 BODY[] {%d}\r\n" % number + b"x" * number + b")\r\n")

    return behave
