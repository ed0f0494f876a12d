"""The limits of a connection to a mail server: a deadline, bytes, and that anybody may cut it at any time."""

import contextlib
import socket
import time

from actors.mail.errors import TooLargeError, UnreachableError

CHUNK = 64 * 1024
SILENCE_SECONDS = 10  # of a server, in the middle of an answer too
LINE_COSTS = 1024  # bytes of the limit, and …
BYTE_OF_A_LINE_COSTS = 16  # … as much as what is parsed of lines may take in memory. A literal costs what it is long
LOG_IN_COSTS = 20 * 1024 * 1024  # with an answer of one line of 1 MB


class Line:
    """Made before its connection, so that who waits for that can end it in any phase.

    It begins with what a log-in may take, as a whole; `allow` says it anew for what follows.
    """

    def __init__(self, seconds: float = 10) -> None:
        self._socket: socket.socket | None = None
        self._is_cut = False
        self.allow(seconds, LOG_IN_COSTS)

    def allow(self, seconds: float, most_bytes: int) -> None:
        self._ends_at = time.monotonic() + seconds
        self._most = self._left = most_bytes

    def seconds_left(self) -> float:
        """At least a little; UnreachableError when it is cut, TimeoutError after the deadline."""
        if self._is_cut:
            raise UnreachableError("The connection to the mail server was given up")
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("The mail server takes too long")
        return left

    def hold(self, connected: socket.socket) -> None:
        self._socket = connected
        connected.settimeout(self.seconds_left())

    def receive(self) -> bytes:
        """The next bytes; b"" at the end of the connection."""
        assert self._socket is not None
        self._socket.settimeout(min(SILENCE_SECONDS, self.seconds_left()))
        return self._socket.recv(CHUNK)

    def send(self, data: bytes) -> None:
        assert self._socket is not None
        self._socket.settimeout(min(SILENCE_SECONDS, self.seconds_left()))
        self._socket.sendall(data)

    def charge_line(self, length: int) -> None:
        self.charge(LINE_COSTS + BYTE_OF_A_LINE_COSTS * length)

    def charge(self, number: int) -> None:
        """TooLargeError, and the connection is cut, when the server sends more than it may."""
        self._left -= number
        if self._left < 0:
            self.cut()
            raise TooLargeError(f"The mail server sends more than it may: expected at most {self._most} bytes at once")

    def cut(self) -> None:
        """For good, and from any thread: who reads or writes meets the end of the connection at once."""
        self._is_cut = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # below TLS, which is in use elsewhere
