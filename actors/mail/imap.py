"""A mailbox that is read over IMAP. Only EXAMINE, SEARCH and BODY.PEEK: nothing is marked as read."""

import contextlib
import email.policy
import imaplib
import logging
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, timedelta
from email.parser import BytesHeaderParser
from threading import Lock
from typing import Any

from imapclient.exceptions import LoginError

from actors.mail.errors import (
    FolderMissingError,
    MailError,
    RefusedError,
    UnreachableError,
    of_answer,
    of_certificate,
    quoted,
)
from actors.mail.line import Line
from actors.mail.mailbox import MAX_MAIL_BYTES, Listed, Position, Window, message_hash
from actors.mail.wire import Client, Server
from actors.outside.addresses import ForbiddenAddressError, UnknownHostError

LIST_SECONDS = 15
SLACK_BYTES = 8 * 1024 * 1024  # see line.py; what is announced as RFC822.SIZE may be a little off
ANSWER_COSTS = MAX_MAIL_BYTES + SLACK_BYTES
# Of the headers of a mail: whoever sends mails with more must not make a page too large or too slow for its limits.
MAX_HEAD_BYTES = 16 * 1024
MAX_NUMBER = 2**32 - 1  # of all that IMAP counts
SEARCHED_AT_ONCE = 20_000  # uids in one search: its answer is one line, which imaplib wants below 1 MB
HEADERS = b"BODY[HEADER.FIELDS"  # servers repeat the names in an order and a spelling of their own
HEAD = f"BODY.PEEK[HEADER.FIELDS (MESSAGE-ID DATE FROM SUBJECT)]<0.{MAX_HEAD_BYTES}>"
ASKED = ["INTERNALDATE", "RFC822.SIZE", HEAD]
# Of the client, over an answer that is none.
NO_IMAP = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError, OverflowError)

logging.getLogger("imapclient").setLevel(logging.WARNING)  # below that it tells what is sent


class ImapMailbox:
    """One folder, from the log-in to close(). One call at a time. Who cuts `line` ends the one that is in hand."""

    def __init__(
        self, server: Server, user: str, password: str, folder: str = "INBOX", line: Line | None = None
    ) -> None:
        self._folder = folder
        self._client: Client | None = None
        self._line = line or Line()
        self._in_hand = Lock()
        try:
            with _told():
                self._log_in(server, user, password)
                self._position = self._examine()
        except BaseException:
            self.close()
            raise

    def _log_in(self, server: Server, user: str, password: str) -> None:
        self._client = Client(server, self._line)
        self.greeting = quoted(self._client.welcome)
        if server.tls == "starttls":
            self._client.starttls(server.ssl_context)
        with _told(at_login=True):
            # By SASL where the server can: LOGIN has no way to send what is not ASCII.
            if self._client.has_capability("AUTH=PLAIN"):
                self._client.plain_login(user, password)
            else:
                self._client.login(user, password)

    def _examine(self) -> Position:
        try:
            answer: dict[bytes, Any] = self._imap.select_folder(self._folder, readonly=True)
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error as error:
            if isinstance(of_answer(error), RefusedError):
                sentence = "The mail server does not open the folder of this connection"
                raise FolderMissingError(sentence, repr(self._folder[:100])) from None
            raise
        uid_next = answer.get(b"UIDNEXT")
        if uid_next is None:  # it need not say
            uid_next = max(self._imap.search(["UID", "1:*"]), default=0) + 1
        position = Position(int(answer[b"UIDVALIDITY"]), int(uid_next) - 1)
        for what, number in (("next mail's number", position.last_uid), ("UIDVALIDITY", position.uidvalidity)):
            if not 0 <= number <= MAX_NUMBER:  # it would be listed for ever
                raise UnreachableError(f"The mail server's {what} is no number of 32 bits")
        return position

    @property
    def _imap(self) -> Client:
        assert self._client is not None
        return self._client

    def position(self) -> Position:
        return self._position

    def page(self, window: Window, most: int) -> tuple[Sequence[Listed], int]:
        """At most one search and one fetch; a page may be empty though more follow."""
        first, last = window.after + 1, min(window.after + SEARCHED_AT_ONCE, window.until)
        if first > last:
            return [], window.until
        criteria: list[Any] = ["UID", f"{first}:{last}"]
        if window.from_date is not None:
            criteria += ["SINCE", window.from_date]
        if window.to_date is not None and window.to_date < date.max:
            criteria += ["BEFORE", window.to_date + timedelta(days=1)]
        with self._in_hand, _told():
            self._imap.allow(LIST_SECONDS, ANSWER_COSTS)
            # N:* may answer below N
            found = sorted({uid for uid in self._imap.search(criteria) if first <= uid <= last})
            uids = found[:most]
            answers = self._imap.fetch(uids, ASKED) if uids else {}
            listed = [_listed(uid, answers[uid]) for uid in uids if b"RFC822.SIZE" in answers.get(uid, {})]
        return listed, last if len(found) <= most else uids[-1]

    def fetch(self, uids: Sequence[int], seconds: float, most_bytes: int = MAX_MAIL_BYTES) -> Mapping[int, bytes]:
        try:
            with self._in_hand, _told():
                self._imap.allow(seconds, most_bytes + SLACK_BYTES)
                answers = self._imap.fetch(list(uids), ["BODY.PEEK[]"]) if uids else {}
        except RefusedError:
            # Some servers refuse all for one that is gone.
            if len(uids) == 1 and self._is_there(uids[0]):
                raise
            if len(uids) <= 1:
                return {}
            found: dict[int, bytes] = {}
            for uid in uids:
                found |= self.fetch([uid], seconds, max(0, most_bytes - sum(map(len, found.values()))))
            return found
        wanted = set(uids)
        bodies = {uid: answer.get(b"BODY[]") for uid, answer in answers.items() if uid in wanted}
        return {uid: body for uid, body in bodies.items() if body and isinstance(body, bytes)}  # a number is none

    def _is_there(self, uid: int) -> bool:
        with self._in_hand, _told():
            self._imap.allow(LIST_SECONDS, ANSWER_COSTS)
            return uid in self._imap.search(["UID", str(uid)])

    def close(self) -> None:
        """From any thread: a call that is in hand ends at once. Its socket is closed behind it, or its number would be
        another's while it is still read.
        """
        self._line.cut()
        if self._client is not None and self._in_hand.acquire(timeout=1):
            with contextlib.suppress(Exception):
                self._client.shutdown()
            self._in_hand.release()


def _listed(uid: int, answer: Mapping[bytes, Any]) -> Listed:
    moment, size = answer[b"INTERNALDATE"], min(max(int(answer[b"RFC822.SIZE"]), 0), MAX_NUMBER)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    head = next((part for name, part in answer.items() if name.startswith(HEADERS)), None)
    headers = BytesHeaderParser(policy=email.policy.compat32).parsebytes((head or b"")[:MAX_HEAD_BYTES])
    # Raw: items() makes objects of those with bytes beyond ASCII, which have no order, and no repr that lasts.
    message_id = str(headers.get("Message-ID") or "") or repr(sorted(headers.raw_items()))
    return Listed(uid, moment.astimezone(UTC), size, message_hash(message_id, size))


@contextmanager
def _told(*, at_login: bool = False) -> Iterator[None]:
    """What goes wrong becomes one of our errors. None repeats what we sent."""
    try:
        yield
    except (MailError, ForbiddenAddressError, UnknownHostError):
        raise
    except LoginError as error:
        if isinstance(error.__context__, imaplib.IMAP4.abort):  # the password was not refused: the connection broke
            raise UnreachableError(_broken(error)) from None
        raise of_answer(error, at_login=True) from None
    except ssl.SSLCertVerificationError as error:
        raise of_certificate(error) from None
    except (imaplib.IMAP4.abort, OSError, EOFError) as error:
        raise UnreachableError(_broken(error)) from None
    except imaplib.IMAP4.error as error:
        raise of_answer(error, at_login=at_login) from None
    except NO_IMAP as error:
        raise UnreachableError(f"The mail server answers what is no IMAP ({type(error).__name__})") from None


def _broken(error: BaseException) -> str:
    """Not in the server's words: before its greeting it may be no mail server at all."""
    if isinstance(error, TimeoutError):
        return "The mail server does not answer in time"
    return "The connection to the mail server failed"
