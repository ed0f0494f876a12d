"""A batch of mails: fetched, parsed in the child, judged, and their files uploaded; outside of a transaction."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from io import BytesIO
from typing import Any

from sqlalchemy import Row, text

from actors.mail.errors import TooLargeError, UnreachableError
from actors.mail.large import room_for_large
from actors.mail.mailbox import MAX_MAIL_BYTES, Mailbox
from actors.mail.parser import Parsed
from actors.mail.storing import Decision, make_files, receipt
from actors.mail.sync import Sync
from actors.runtime.base.call import Call
from actors.runtime.jobs.run import Run

BATCH_BYTES = 8 * 1024 * 1024  # of mails, if one alone is not larger; two batches are in memory
FETCH_SECONDS, BYTES_PER_SECOND = 15, 500_000  # that a server must manage
PARSE_SECONDS = 30  # for one mail; the parser's own limits are below
LONG_SECONDS = 60  # of parsing; the rest is for the next batch, or minutes would pass without a checkpoint
MOST_FAILURES = 4  # to fetch a mail: with others, and three times alone

NOTE_FAILURE = text("""
    UPDATE mail_messages SET fetch_failures = fetch_failures + 1
    WHERE business_id = :business_id AND id = ANY (CAST(:ids AS bigint[])) AND state = 'pending'
""")


def together(rows: Sequence[Row[Any]]) -> Sequence[Row[Any]]:
    """Those that are fetched at once: within the memory, and what could not be fetched before alone."""
    total = 0
    for number, row in enumerate(rows):
        total += row.size if row.size <= MAX_MAIL_BYTES else 0
        if number and (total > BATCH_BYTES or row.fetch_failures or rows[0].fetch_failures):
            return rows[:number]
    return rows


class Reading:
    """A batch whose mails are fetched and parsed, from the construction on, while the one before is stored; a large one
    only when that is stored and `in_memory()` has found room.

    One at a time: the mailbox and the parser take one call each.
    """

    def __init__(self, run: Run[Any], sync: Sync, rows: Sequence[Row[Any]], uidvalidity: int) -> None:
        self.rows = rows
        self._run = run
        self._sync = sync
        self._asked = [row for row in rows if _why_not(row) is None and row.uidvalidity == uidvalidity]
        self._size = sum(row.size for row in self._asked)
        self._call = self._begin() if self._size <= BATCH_BYTES else None

    def in_memory(self) -> AbstractContextManager[None]:
        """Until its mails are stored."""
        return room_for_large(self._run) if self._size > BATCH_BYTES else nullcontext()

    def _begin(self) -> Call[Any]:
        seconds = FETCH_SECONDS + self._size / BYTES_PER_SECOND
        work = partial(_fetch_and_parse, self._sync.mailbox, self._sync, self._asked, self._size, seconds)
        return self._run.submit(work, seconds + LONG_SECONDS + PARSE_SECONDS)

    def decisions(self) -> list[Decision]:
        """Of `rows`, which are fewer now if these took long.

        What goes wrong is noted beside each: then these are fetched one by one, so that a bad one costs itself.
        """
        try:
            read, left = self._run.result(self._call or self._begin())
        except (UnreachableError, TooLargeError, TimeoutError):
            self._run.begin().execute(NOTE_FAILURE, self._run.scope(ids=[row.id for row in self._asked]))
            self._run.commit()
            raise
        if left is not None:
            self.rows = self.rows[: self.rows.index(left)]
        return [_judge(row, read.get(row.uid)) for row in self.rows]


def _fetch_and_parse(
    mailbox: Mailbox, sync: Sync, rows: Sequence[Row[Any]], size: int, seconds: float
) -> tuple[dict[int, tuple[bytes, Parsed]], Row[Any] | None]:
    """By the uids of what is there; and the first row for which no time was left."""
    raw = mailbox.fetch([row.uid for row in rows], seconds, size)  # no more than there is room for, whatever it sends
    read: dict[int, tuple[bytes, Parsed]] = {}
    ends_at = time.monotonic() + LONG_SECONDS
    for row in rows:
        if read and time.monotonic() >= ends_at:
            return read, row
        if row.uid in raw:
            read[row.uid] = raw[row.uid], sync.parser.parse(raw[row.uid], sync.context(row.received_at))
    return read, None


def upload(run: Run[Any], decisions: Sequence[Decision]) -> None:
    """The files of what was found, each as one that is due to be purged if no receipt adopts it."""
    uploads = make_files(run.begin(), run.business_id, decisions)
    run.commit()
    for one in uploads:
        run.call(run.bucket.put, one.key, BytesIO(one.file.content), one.file.content_type, seconds=60)


def _why_not(row: Row[Any]) -> str | None:
    """Why this mail is not fetched."""
    if row.size > MAX_MAIL_BYTES:
        return "too_large"
    return "cannot_be_fetched" if row.fetch_failures >= MOST_FAILURES else None


def _judge(row: Row[Any], read: tuple[bytes, Parsed] | None) -> Decision:
    if read is None:
        return Decision(row.id, "unreadable", _why_not(row) or "gone")
    raw, parsed = read
    if parsed.judged is None:
        return Decision(row.id, "unreadable", parsed.unreadable or "parser_died")
    judged = parsed.judged
    if judged.found is None:
        return Decision(row.id, "not_receipt", judged.reason, judged.rule)
    return receipt(row.id, parsed.message_id, judged.rule, judged.found, judged.files, raw)
