"""The connection below an IMAP client: to one checked address, with TLS in the host's name, and literals in bounds."""

import imaplib
import socket
import ssl
from dataclasses import dataclass, field
from typing import Any, Literal

from imapclient import IMAPClient

from actors.mail.errors import MailError, TooLargeError
from actors.mail.mailbox import MAX_MAIL_BYTES
from actors.outside.addresses import is_public_text, resolve

PORTS = (143, 993)
MAX_LITERAL = MAX_MAIL_BYTES + 64 * 1024  # what is announced as RFC822.SIZE may be a little off

Tls = Literal["tls", "starttls", "none"]


@dataclass(frozen=True)
class Server:
    host: str
    port: int
    tls: Tls
    private_allowed: bool = False
    timeout: float = 10  # seconds for each read
    ssl_context: ssl.SSLContext = field(default_factory=ssl.create_default_context, repr=False)


class BadServerError(MailError):
    """We do not connect to such a server."""


class Wire(imaplib.IMAP4):
    """imaplib's connection, to the address that was checked and no other."""

    def __init__(self, server: Server, address: str) -> None:
        self._server, self._address = server, address
        super().__init__(server.host, server.port, timeout=server.timeout)  # the host's name is what TLS checks

    def _create_socket(self, timeout: float | None) -> socket.socket:
        plain = socket.create_connection((self._address, self._server.port), timeout)
        if self._server.tls != "tls":
            return plain
        try:
            return self._server.ssl_context.wrap_socket(plain, server_hostname=self._server.host)
        except BaseException:
            plain.close()
            raise

    def read(self, size: int) -> bytes:
        if size > MAX_LITERAL:
            self.shutdown()
            raise TooLargeError(f"The mail server sends {size} bytes at once, expected at most {MAX_LITERAL}")
        return super().read(size)


class Client(IMAPClient):  # type: ignore[misc]  # it has no types
    def __init__(self, server: Server) -> None:
        self._server = server
        self._address = checked_address(server)
        super().__init__(server.host, server.port, use_uid=True, ssl=server.tls == "tls", timeout=server.timeout)
        self.normalise_times = False  # moments keep their zone
        self._imap.debug = 0  # it would keep what was sent, passwords too

    def _create_IMAP4(self) -> Any:  # noqa: N802 - IMAPClient's name
        return Wire(self._server, self._address)


def checked_address(server: Server) -> str:
    """The address to connect to; BadServerError or an error of addresses.py when we don't connect there."""
    if not server.private_allowed and server.port not in PORTS:
        raise BadServerError(f"Found port {server.port}, expected 993 or 143")
    address = resolve(server.host, server.port, private_allowed=server.private_allowed)
    if server.tls == "none" and (not server.private_allowed or is_public_text(address)):
        raise BadServerError("A connection without TLS is for private hosts only, where those are allowed")
    return address
