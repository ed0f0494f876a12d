"""An IMAP server that answers as it is told."""

import socket
from collections.abc import Callable, Iterator
from threading import Thread

import pytest

from actors.mail.wire import Server


@pytest.fixture
def scripted() -> Iterator[Callable[..., Server]]:
    """scripted({"LOGIN": "NO …"}): where a server listens that answers a command so, and others with OK."""
    sockets: list[socket.socket] = []

    def start(answers: dict[str, str], greeting: str = "* OK ready") -> Server:
        listening = socket.create_server(("127.0.0.1", 0))
        sockets.append(listening)
        Thread(target=serve, args=(listening, answers, greeting), daemon=True).start()
        return Server("127.0.0.1", listening.getsockname()[1], "none", private_allowed=True)

    yield start
    for one in sockets:
        one.close()


def serve(listening: socket.socket, answers: dict[str, str], greeting: str) -> None:
    """Of an answer of several lines the last one is tagged; an empty answer closes the connection."""
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        with connection, connection.makefile("rb") as lines:
            connection.sendall(f"{greeting}\r\n".encode())
            for line in lines:
                tag, command, *_ = line.decode().split()
                said = answers.get(command, "* CAPABILITY IMAP4rev1\nOK done" if command == "CAPABILITY" else "OK done")
                if not said:
                    break
                *untagged, last = said.split("\n")
                connection.sendall("".join(f"{one}\r\n" for one in [*untagged, f"{tag} {last}"]).encode())
