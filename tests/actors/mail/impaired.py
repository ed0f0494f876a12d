"""Between a client and its IMAP server: what a bad server or a bad network does with single commands."""

import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

DROP = "drop"  # the connection ends before the server hears of the command
LOSE = "lose"  # the server does it, and the connection ends before its answer
SILENCE = "silence"  # the server does it, and nothing comes back, nor any end

Rule = Callable[[str], str | None]  # of a command without its tag: one of these, an answer such as "NO busy", or None


class Impaired:
    """A TCP port in front of an IMAP server; `rule` may be changed at any time."""

    def __init__(self, port: int, rule: Rule = lambda _command: None) -> None:
        self.rule = rule
        self.commands: list[str] = []
        self._upstream = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                Thread(target=_Session(self, client).run, daemon=True).start()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._upstream))


class _Session:
    def __init__(self, impaired: Impaired, client: socket.socket) -> None:
        self._impaired, self._client = impaired, client
        self._lost: str | None = None

    def run(self) -> None:
        with suppress(OSError), self._client, self._impaired.connect() as server:
            Thread(target=self._answers, args=(server,), daemon=True).start()
            with self._client.makefile("rb") as lines:
                for line in lines:
                    if not self._command(line, server):
                        break
            for end in (self._client, server):
                end.shutdown(socket.SHUT_RDWR)

    def _command(self, line: bytes, server: socket.socket) -> bool:
        tag, _, command = line.decode(errors="replace").rstrip("\r\n").partition(" ")
        self._impaired.commands.append(command)
        said = self._impaired.rule(command)
        if said == DROP:
            return False
        if said in (LOSE, SILENCE):
            self._lost = said
        elif said:
            self._client.sendall(f"{tag} {said}\r\n".encode())
            return True
        server.sendall(line)
        return True

    def _answers(self, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if self._lost == LOSE:
                    break
                if self._lost is None:
                    self._client.sendall(data)
            self._client.shutdown(socket.SHUT_RDWR)
