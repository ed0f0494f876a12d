"""The connection below an IMAP client: to one checked address, with TLS in the host's name, within its limits."""

import imaplib
import socket
import ssl
from dataclasses import dataclass, field
from typing import Any, Literal

from imapclient import IMAPClient

from actors.mail.errors import MailError, TooLargeError
from actors.mail.line import Line
from actors.outside.addresses import is_public_text, resolve

PORTS = (143, 993)
MAX_LINE = 1_000_000  # bytes, as with imaplib

Tls = Literal["tls", "starttls", "none"]


@dataclass(frozen=True)
class Server:
    host: str
    port: int
    tls: Tls
    private_allowed: bool = False
    ssl_context: ssl.SSLContext = field(default_factory=ssl.create_default_context, repr=False)


class BadServerError(MailError):
    """We do not connect to such a server."""


class Wire(imaplib.IMAP4):
    """imaplib's connection, to the address that was checked and no other. What is read costs its line."""

    def __init__(self, server: Server, line: Line) -> None:
        self._server, self._line = server, line
        self._buffer = bytearray()
        super().__init__(server.host, server.port)  # the host's name is what TLS checks

    def _create_socket(self, _timeout: float | None) -> socket.socket:
        address = checked_address(self._server)
        plain = socket.create_connection((address, self._server.port), self._line.seconds_left())
        try:
            self._line.hold(plain)
            return self.wrap_socket(plain, self._server.host) if self._server.tls == "tls" else plain
        except BaseException:
            plain.close()
            raise

    def starttls(self, ssl_context: Any = None) -> Any:
        return super().starttls(self)

    def wrap_socket(self, plain: socket.socket, server_hostname: str) -> ssl.SSLSocket:
        """As that of an SSLContext, which imaplib expects at STARTTLS."""
        self._buffer.clear()  # what came in clear is no answer to what is asked over TLS
        context = self._server.ssl_context
        secure = context.wrap_socket(plain, server_hostname=server_hostname, do_handshake_on_connect=False)
        try:
            self._line.hold(secure)
            secure.do_handshake()
        except BaseException:
            secure.close()
            raise
        return secure

    def login(self, user: str, password: str) -> Any:
        """imaplib sends the user as it is: after a blank in it the password would begin."""
        typ, data = self._simple_command("LOGIN", _quoted(user), _quoted(password))
        if typ != "OK":
            raise self.error(data[-1])
        self.state = "AUTH"
        return typ, data

    def read(self, size: int) -> bytes:
        self._line.charge(size)
        while len(self._buffer) < size:
            if not (more := self._line.receive()):
                break
            self._buffer += more
        return self._take(size)

    def readline(self) -> bytes:
        looked = 0
        while (end := self._buffer.find(b"\n", looked)) < 0:
            looked = len(self._buffer)
            if looked > MAX_LINE:
                self._line.cut()
                raise TooLargeError(f"The mail server sends a line that is too long, expected {MAX_LINE} bytes at most")
            if not (more := self._line.receive()):
                return self._take(looked)
            self._buffer += more
        self._line.charge_line(end)
        return self._take(end + 1)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def send(self, data: Any) -> None:
        self._line.send(data)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Client(IMAPClient):  # type: ignore[misc]  # it has no types
    def __init__(self, server: Server, line: Line) -> None:
        self._server, self._line = server, line
        super().__init__(server.host, server.port, use_uid=True, ssl=server.tls == "tls")
        self.normalise_times = False  # moments keep their zone
        self._imap.debug = 0  # it would keep what was sent, passwords too

    def _create_IMAP4(self) -> Any:  # noqa: N802 - IMAPClient's name
        return Wire(self._server, self._line)

    def allow(self, seconds: float, most_bytes: int) -> None:
        """For all commands until the next allowance."""
        self._line.allow(seconds, most_bytes)
        self._imap.untagged_responses.clear()  # what nobody asks for is kept there, and would pile up


def checked_address(server: Server) -> str:
    """The address to connect to; BadServerError or an error of addresses.py when we don't connect there."""
    if not server.private_allowed and server.port not in PORTS:
        raise BadServerError(f"Found port {server.port}, expected 993 or 143")
    address = resolve(server.host, server.port, private_allowed=server.private_allowed)
    if server.tls == "none" and (not server.private_allowed or is_public_text(address)):
        raise BadServerError("A connection without TLS is for private hosts only, where those are allowed")
    return address
