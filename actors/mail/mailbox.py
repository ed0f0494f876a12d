"""A mailbox as the sync sees it, whatever its provider speaks."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

MAX_MAIL_BYTES = 50 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Listed:
    """A mail that is there, without what it says."""

    uid: int
    received_at: datetime
    size: int  # bytes
    message_hash: bytes  # SHA-256 of its Message-ID and size


@dataclass(frozen=True, slots=True)
class Window:
    """Which mails: above `after`, up to `until`, received on these days (both inclusive, as the server counts days)."""

    after: int
    until: int
    from_date: date | None = None
    to_date: date | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """How the folder numbers its mails at present: a uid means a mail only together with `uidvalidity`."""

    uidvalidity: int
    last_uid: int  # no mail has a higher one yet


class Mailbox(Protocol):
    """A mailbox that somebody has logged in to. Each call raises MailError. None changes anything in the mailbox."""

    @property
    def greeting(self) -> str:
        """The server's first words, as they may be shown."""

    def position(self) -> Position:
        """What is new since? Whatever comes above `last_uid`; everything, where `uidvalidity` is another."""

    def page(self, window: Window, most: int) -> tuple[Sequence[Listed], int]:
        """The next mails of a window, in order of their uids, and the uid to go on after; `until` at its end."""

    def fetch(self, uids: Sequence[int], seconds: float, most_bytes: int) -> Mapping[int, bytes]:
        """The raw bytes of these mails; those that are not there any more are left out.

        UnreachableError if the server's answer takes longer than `seconds`, TooLargeError if it is much longer than
        `most_bytes`.
        """

    def close(self) -> None:
        """Never raises."""


def message_hash(message_id: str, size: int) -> bytes:
    """The size is part of it: a forged mail with the Message-ID of an invoice must not stand for the invoice."""
    return hashlib.sha256(f"{message_id.strip()}\n{size}".encode(errors="surrogateescape")).digest()
