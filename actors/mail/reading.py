"""A batch of mails: fetched, parsed in the child, judged, and their files uploaded; outside of a transaction."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

from sqlalchemy import Row

from actors.mail.mailbox import MAX_MAIL_BYTES
from actors.mail.storing import Decision, make_files, receipt
from actors.mail.sync import Sync
from actors.runtime.jobs.run import Run

BATCH_BYTES = 16 * 1024 * 1024  # of mails in memory, if one alone is not larger
BYTES_PER_SECOND = 500_000  # that a server must manage


def within_memory(rows: Sequence[Row[Any]]) -> Sequence[Row[Any]]:
    total = 0
    for number, row in enumerate(rows):
        total += row.size if row.size <= MAX_MAIL_BYTES else 0
        if total > BATCH_BYTES and number:
            return rows[:number]
    return rows


def decide(run: Run[Any], sync: Sync, rows: Sequence[Row[Any]], uidvalidity: int) -> list[Decision]:
    """Fetches, parses and uploads; outside of a transaction."""
    wanted = [row for row in rows if row.size <= MAX_MAIL_BYTES and row.uidvalidity == uidvalidity]
    seconds = 15 + sum(row.size for row in wanted) / BYTES_PER_SECOND
    raw = run.call(sync.mailbox.fetch, [row.uid for row in wanted], seconds=seconds)
    decisions = [_judge(run, sync, row, raw.get(row.uid) if row in wanted else None) for row in rows]
    uploads = make_files(run.begin(), run.business_id, decisions)
    run.commit()
    for upload in uploads:
        file = upload.file
        run.call(run.bucket.put, upload.key, BytesIO(file.content), file.content_type, seconds=60)
    return decisions


def _judge(run: Run[Any], sync: Sync, row: Row[Any], raw: bytes | None) -> Decision:
    if row.size > MAX_MAIL_BYTES:
        return Decision(row.id, "unreadable", "too_large")
    if raw is None:
        return Decision(row.id, "unreadable", "gone")
    parsed = run.call(sync.parser.parse, raw, sync.context(row.received_at), seconds=30)
    if parsed.judged is None:
        return Decision(row.id, "unreadable", parsed.unreadable or "parser_died")
    judged = parsed.judged
    if judged.found is None:
        return Decision(row.id, "not_receipt", judged.reason, judged.rule)
    return receipt(row.id, parsed.message_id, judged.rule, judged.found, judged.files, raw)
