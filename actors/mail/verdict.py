"""What a mail was found to be."""

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal

from actors.mail.parts import File
from actors.receipts.amounts import Money

DOLLARS = "USD"  # a bare $ where the connection does not say


@dataclass(frozen=True)
class Context:
    """What a connection says of the mails from it, and the server of this one."""

    received_at: datetime
    currency: str | None = None
    timezone: str = "UTC"
    dates: Literal["day-first", "month-first"] | None = None


@dataclass(frozen=True)
class Found:
    """What a receipt says; the vendor and the day may stand elsewhere."""

    money: Money
    day: date | None = None
    vendor: str | None = None
    printed_day: date | None = None  # None: `day` is the mail's own
    number: str | None = None


@dataclass(frozen=True)
class Judged:
    """A receipt (then with all of the rest), or none; `reason` is a code, and `rule` what decided."""

    is_receipt: bool
    reason: str
    rule: str
    found: Found | None = None
    files: list[File] = field(default_factory=list)


def no_receipt(reason: str, rule: str) -> Judged:
    return Judged(False, reason, rule)
