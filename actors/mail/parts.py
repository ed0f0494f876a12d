"""A raw mail taken apart: who sent it, its subject and moment, what it says, and its files."""

import codecs
import email
import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.policy import Compat32
from email.utils import parseaddr, parsedate_to_datetime

from actors.mail.page import Page, read_page
from actors.receipts.files import HEAD_BYTES, content_type

MAX_PARTS = 200
MAX_DEPTH = 12
MAX_TEXT = 1_000_000  # characters that are looked at
MAX_FILES = 10
MAX_HEADER = 2_000  # characters that are looked at: a part's are read several times, in up to quadratic time
FALLBACKS = ("utf-8", "windows-1255", "latin-1")  # for charsets that are not what they are said to be
# By Python's names. It has other codecs that are no charset of mails: with punycode, 200 kB take ten seconds.
CHARSETS = re.compile(
    "(ascii|utf-(7|8|8-sig|16|32|(16|32)-[bl]e)|iso8859-[0-9]+|iso2022_[a-z0-9_]+|cp[0-9]+|koi8-[rtu]|kz1048|ptcp154|tis-620"
    "|mac-[a-z0-9]+|gb2312|gbk|gb18030|hz|big5|big5hkscs|johab|euc_[a-z0-9_]+|shift_jis[x0-9_]*|hp-roman8)"
)


class UnreadableError(Exception):
    """The mail cannot be taken apart; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class File:
    content_type: str
    content: bytes
    inline: bool  # shown within the mail, as logos are

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.content).digest()


class _ShortHeaders(Compat32):
    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        return name, value[:MAX_HEADER]


class _Part(Message):
    """Refused while it is parsed: each line is held against the boundaries of all parts that it is in."""

    depth = 0

    def attach(self, payload: Message) -> None:  # type: ignore[override]
        if isinstance(payload, _Part):
            payload.depth = self.depth + 1
            if payload.depth > MAX_DEPTH:
                raise UnreadableError("nested_too_deeply")
        super().attach(payload)


_POLICY = _ShortHeaders(message_factory=_Part)


@dataclass
class Mail:
    sender: str  # as shown
    address: str
    subject: str
    message_id: str
    sent_at: datetime | None
    is_reply: bool
    is_bulk: bool
    text: str = ""
    page: Page = field(default_factory=Page)
    files: list[File] = field(default_factory=list)


def take_apart(raw: bytes) -> Mail:
    """UnreadableError for what is nested or split beyond what any honest mail is."""
    message = email.message_from_bytes(raw, policy=_POLICY)
    name, address = parseaddr(_header(message, "From"))
    mail = Mail(
        sender=name.strip(),
        address=address.casefold(),
        subject=_header(message, "Subject"),
        message_id=_header(message, "Message-ID"),
        sent_at=_moment(message),
        is_reply=bool(message.get("In-Reply-To") or message.get("References")),
        is_bulk=bool(message.get("List-Unsubscribe") or message.get("List-Id")),
    )
    html = ""
    for number, part in enumerate(_leaves(message)):
        if number >= MAX_PARTS:
            raise UnreadableError("too_many_parts")
        kind, attached = part.get_content_type(), part.get_content_disposition() == "attachment"
        if kind == "text/plain" and not attached and not part.get_filename():
            mail.text += _text(part) + "\n"
        elif kind == "text/html" and not attached and not part.get_filename():
            html += _text(part)
        elif len(mail.files) < MAX_FILES and (file := _file(part)):
            mail.files.append(file)
    if len(mail.text) > MAX_TEXT or len(html) > 2 * MAX_TEXT:
        raise UnreadableError("too_much_text")
    if html:
        mail.page = read_page(html)
    return mail


def _leaves(message: Message) -> Iterator[Message]:
    """Every part that holds content. A mail within the mail is one too: a forward as an attachment."""
    if message.is_multipart():
        for part in message.get_payload():
            if isinstance(part, Message):
                yield from _leaves(part)
    else:
        yield message


def _header(message: Message, name: str) -> str:
    raw = next((value for key, value in message.raw_items() if key.lower() == name.lower()), "")
    written = raw.encode("ascii", "surrogateescape").decode("utf-8", "replace")  # some send it as it is
    with suppress(MessageError, LookupError, ValueError, UnicodeError):  # of a charset that there is not
        written = str(make_header(decode_header(written)))
    written = written.encode(errors="replace").decode()  # UTF-7, for one, gives halves of characters
    return " ".join(written.split())[:1000]


def _moment(message: Message) -> datetime | None:
    try:
        return parsedate_to_datetime(str(message.get("Date") or ""))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _text(part: Message) -> str:
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return ""
    content = content[: 4 * MAX_TEXT]
    for charset in (part.get_content_charset() or "utf-8", *FALLBACKS):
        try:
            if CHARSETS.fullmatch(codecs.lookup(charset).name):
                return content.decode(charset)
        except (LookupError, UnicodeError, ValueError):
            continue
    return content.decode("ascii", errors="replace")


def _file(part: Message) -> File | None:
    """An image or a PDF, by its own first bytes."""
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes) or not content:
        return None
    found = content_type(content[:HEAD_BYTES])
    inline = part.get_content_disposition() == "inline" or bool(part.get("Content-ID"))
    return None if found is None else File(found, content, inline)
