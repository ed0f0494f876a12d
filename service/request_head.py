"""The head of a request: what is refused."""

import re
from typing import Any

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import BadRequest

from service.chunks import Chunks
from service.credentials import LookedUp

MAX_LINE_BYTES = 8 * 1024  # of a request line
MAX_HEADERS = 100

REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Z-]+ (?:/|\*|https?://)[\x21-\x7e\x80-\xff]* HTTP/1\.[01]")
CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """Refuses heads whose end a server in front might see elsewhere than we do, and heads that are slow to parse: two
    of waitress's patterns take quadratic time in a line's length.
    """

    body_rcv: Any  # mypy can't see these in waitress
    path: str
    header_plus: bytes
    headers_finished: bool
    completed: bool
    error: Any
    # Set by Turns: the token has too many requests in flight; its credential was looked up, as it was new here.
    is_too_many = was_looked_up = False
    looked_up: LookedUp | None = None
    is_head = False  # its method is HEAD: a refusal has no body either

    def received(self, data: bytes) -> int:
        """Nothing but a method begins a head: waitress would skip blanks, and take a line of them for an empty request,
        of which thousands fit into what is read at once.
        """
        if not self.headers_finished:
            self.is_head = (self.header_plus[:5] + data[:5]).startswith(b"HEAD ")
        if not self.header_plus and not self.headers_finished and data[:1].isspace():
            self.error, self.completed = BadRequest("the request begins with a blank"), True
            return len(data)
        used: int = super().received(data)
        return used

    def parse_header(self, header_plus: bytes) -> None:
        lines = header_plus.split(b"\r\n", MAX_HEADERS + 2)
        if len(lines) > MAX_HEADERS + 1 or len(lines[0]) > MAX_LINE_BYTES:
            raise ParsingError("There are too many headers, or the request line is too long")
        if not REQUEST_LINE.fullmatch(lines[0]) or any(CONTROL.search(line) for line in lines):
            raise ParsingError("A line has a character that is not allowed")
        names = [line.partition(b":")[0].strip().lower() for line in lines[1:]]
        if any(line[:1] in (b" ", b"\t") for line in lines[1:]):
            raise ParsingError("A header continues on another line")
        if names.count(b"host") > 1:
            raise ParsingError("There are several Host headers")
        if b"transfer-encoding" in names:
            if b"content-length" in names or names.count(b"transfer-encoding") > 1:
                raise ParsingError("The length of the body is given twice")
            if not lines[0].endswith(b" HTTP/1.1"):
                raise ParsingError("Only HTTP/1.1 has Transfer-Encoding")
        fields = [line.partition(b":") for line in lines[1:] if line]
        if not all(colon for _, colon, _ in fields):
            raise ParsingError("A header has no colon")
        if any(name.strip().lower() == b"transfer-encoding" and not _is_clear(value) for name, _, value in fields):
            raise ParsingError("A Transfer-Encoding has no name, or is applied twice")
        clean = [name + colon + value.strip(b" \t") for name, colon, value in fields]
        try:
            super().parse_header(b"\r\n".join([lines[0], *clean, b""]))
        except ValueError as error:  # an invalid number or address
            raise ParsingError(str(error)[:100]) from error
        if self.path.startswith("/"):  # as the application will see it: Turns must not take it for another
            self.path = "/" + self.path.lstrip("/")
        if self.chunked:
            self.body_rcv = Chunks(self.body_rcv.getbuf())


def _is_clear(encodings: bytes) -> bool:
    """waitress leaves out those without a name: then a body would have no length where another server sees chunks. It
    reads chunks within chunks as chunks.
    """
    names = [encoding.strip(b" \t").lower() for encoding in encodings.split(b",")]
    return all(names) and names.count(b"chunked") <= 1
