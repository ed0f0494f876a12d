"""A batch of mails: fetched, parsed in the child, judged, and their files uploaded; outside of a transaction."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from sqlalchemy import Row, text

from actors.mail.errors import TooLargeError, UnreachableError
from actors.mail.mailbox import MAX_MAIL_BYTES
from actors.mail.storing import Decision, make_files, receipt
from actors.mail.sync import Sync
from actors.runtime.jobs.run import Run

BATCH_BYTES = 16 * 1024 * 1024  # of mails in memory, if one alone is not larger
BYTES_PER_SECOND = 500_000  # that a server must manage
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


def decide(run: Run[Any], sync: Sync, rows: Sequence[Row[Any]], uidvalidity: int) -> list[Decision]:
    """Fetches, parses and uploads; outside of a transaction."""
    raw = _fetch(run, sync, [row for row in rows if _why_not(row) is None and row.uidvalidity == uidvalidity])
    decisions = [_judge(run, sync, row, raw.get(row.uid)) for row in rows]
    uploads = make_files(run.begin(), run.business_id, decisions)
    run.commit()
    for upload in uploads:
        file = upload.file
        run.call(run.bucket.put, upload.key, BytesIO(file.content), file.content_type, seconds=60)
    return decisions


def _why_not(row: Row[Any]) -> str | None:
    """Why this mail is not fetched."""
    if row.size > MAX_MAIL_BYTES:
        return "too_large"
    return "cannot_be_fetched" if row.fetch_failures >= MOST_FAILURES else None


def _fetch(run: Run[Any], sync: Sync, rows: Sequence[Row[Any]]) -> Mapping[int, bytes]:
    """What goes wrong is noted beside each: next time these are fetched one by one, so that a bad one costs itself."""
    seconds = 15 + sum(row.size for row in rows) / BYTES_PER_SECOND
    mailbox = sync.mailbox
    try:
        return run.call(mailbox.fetch, [row.uid for row in rows], seconds=seconds)
    except (UnreachableError, TooLargeError, TimeoutError):
        run.begin().execute(NOTE_FAILURE, run.scope(ids=[row.id for row in rows]))
        run.commit()
        raise


def _judge(run: Run[Any], sync: Sync, row: Row[Any], raw: bytes | None) -> Decision:
    if raw is None:
        return Decision(row.id, "unreadable", _why_not(row) or "gone")
    parsed = run.call(sync.parser.parse, raw, sync.context(row.received_at), seconds=30)
    if parsed.judged is None:
        return Decision(row.id, "unreadable", parsed.unreadable or "parser_died")
    judged = parsed.judged
    if judged.found is None:
        return Decision(row.id, "not_receipt", judged.reason, judged.rule)
    return receipt(row.id, parsed.message_id, judged.rule, judged.found, judged.files, raw)
