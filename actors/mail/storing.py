"""The read phase of a sync: receipts with their files and what became of each mail, in the batch's transaction.

A file is uploaded before, as one that is due to be purged in an hour; the transaction adopts it. So what a crash leaves
in the bucket is collected, and a receipt never lacks its file.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import Any

from sqlalchemy import Connection, Row, text

from actors.mail.parts import File
from actors.mail.verdict import Found
from actors.receipts.files import SUFFIXES
from actors.runtime.jobs.verdicts import Transient

EML = "message/rfc822"
NEAR_DAYS = 2  # between a mail and its forward
MOST_ALIKE = 5_000  # receipts with one file and one total: each new one is held against all of them
_SUFFIXES = {**SUFFIXES, EML: ".eml"}

# Which receipt this one repeats: the same mail's; or one with the same file and total, and the same number, or the same
# day. Shops attach one and the same file (their terms) to every invoice. A deleted receipt counts: it stays deleted.
# Where neither prints a number or a day, only copies that came within some days are one: an invoice too many is seen
# and deleted, one that was left out is missed by nobody. `alike`: how many were looked at for this.
SAME = text("""
    SELECT id, is_same, count(*) OVER () AS alike FROM (
        SELECT r.id, true AS is_same FROM receipts r
        WHERE r.business_id = :business_id AND r.source = 'mail' AND r.source_id = :source_id
        UNION ALL
        SELECT r.id, CASE
            WHEN m.printed_number IS NOT NULL AND CAST(:number AS text) IS NOT NULL THEN m.printed_number = :number
            WHEN m.printed_day IS NOT NULL AND CAST(:printed_day AS date) IS NOT NULL THEN m.printed_day = :printed_day
            ELSE abs((r.received_at AT TIME ZONE 'UTC')::date - CAST(:day AS date)) <= :near_days END
        FROM attachments a JOIN receipts r ON r.id = a.receipt_id
        LEFT JOIN mail_messages m ON m.receipt_id = r.id AND m.business_id = :business_id AND m.state = 'receipt'
        WHERE a.business_id = :business_id AND a.sha256 = :sha256 AND r.business_id = :business_id
          AND r.amount = :amount AND r.currency = :currency
    ) AS found
    ORDER BY is_same DESC, id LIMIT 1
""")
LOCK_BUSINESS = text("SELECT id FROM businesses WHERE id = :business_id FOR NO KEY UPDATE")
MAKE_FILE = text("""
    INSERT INTO attachments (id, business_id, object_key, content_type, sha256, purge_requested_at, purge_after)
    SELECT id, :business_id,
           pg_catalog.format('businesses/%s/mail/%s%s', CAST(:business_id AS bigint), id, CAST(:suffix AS text)),
           :content_type, :sha256, now(), now() + interval '1 hour'
    FROM (SELECT pg_catalog.nextval(pg_catalog.pg_get_serial_sequence('public.attachments', 'id')::regclass) AS id)
         AS numbered
    RETURNING id, object_key
""")
ADOPT = text("""
    UPDATE attachments
    SET receipt_id = :receipt_id, size = :size, purge_requested_at = NULL, purge_after = NULL
    WHERE id = :id AND business_id = :business_id AND receipt_id IS NULL AND purge_attempts = 0
      AND purge_after > now() + interval '1 minute'
    RETURNING id
""")
INSERT = text("""
    INSERT INTO receipts (business_id, vendor, amount, currency, received_at, source, source_id)
    VALUES (:business_id, :vendor, :amount, :currency, :received_at, 'mail', :source_id)
    ON CONFLICT ON CONSTRAINT uq_receipts_business_source DO NOTHING
    RETURNING id
""")
DECIDE = text("""
    UPDATE mail_messages
    SET state = :state, reason = :reason, rule = :rule, receipt_id = :receipt_id, decided_at = clock_timestamp(),
        printed_day = :printed_day, printed_number = :number
    WHERE id = :id AND business_id = :business_id AND state = 'pending'
    RETURNING id
""")


@dataclass
class Upload:
    file: File
    id: int = 0
    key: str = ""


@dataclass
class Decision:
    """What became of one mail; with `found`, a receipt unless there is one already."""

    message: int  # the row's id
    state: str
    reason: str
    rule: str | None = None
    found: Found | None = None
    uploads: list[Upload] = field(default_factory=list)
    source_id: str = ""
    receipt_id: int | None = None

    @property
    def scope(self) -> dict[str, Any]:
        assert self.found is not None
        money = self.found.money
        return {
            "source_id": self.source_id,
            "sha256": self.uploads[0].file.sha256,
            "amount": money.amount,
            "currency": money.currency,
            "day": self.found.day,
            "near_days": NEAR_DAYS,
            **self.printed,
        }

    @property
    def printed(self) -> dict[str, Any]:
        """What is kept of a receipt."""
        found = self.found if self.state == "receipt" else None
        return {"printed_day": found and found.printed_day, "number": found and found.number}


def receipt(message: int, message_id: str, rule: str, found: Found, files: Sequence[File], raw: bytes) -> Decision:
    """Without a file of its own, the mail itself is the receipt's file."""
    uploads = [Upload(file) for file in files or [File(EML, raw, inline=False)]]
    name = message_id.encode(errors="surrogateescape") or hashlib.sha256(raw).digest()  # some mails have none
    digest = hashlib.sha256(name + b"\0" + uploads[0].file.sha256)
    return Decision(message, "receipt", "receipt", rule, found, uploads, digest.hexdigest())


def make_files(connection: Connection, business_id: int, decisions: Iterable[Decision]) -> list[Upload]:
    """Rows for the files of receipts that are not there yet, to be committed before the uploads; what to upload."""
    made = []
    for decision in decisions:
        if decision.found is None:
            continue
        same = _same(connection, business_id, decision)
        if same and (same.is_same or same.alike >= MOST_ALIKE):
            continue
        for upload in decision.uploads:
            file = upload.file
            values = {"content_type": file.content_type, "sha256": file.sha256, "suffix": _SUFFIXES[file.content_type]}
            row = connection.execute(MAKE_FILE, {"business_id": business_id, **values}).one()
            upload.id, upload.key = row.id, row.object_key
            made.append(upload)
    return made


def store(connection: Connection, business_id: int, decisions: Sequence[Decision]) -> None:
    """In the batch's transaction. Other mailboxes of the business wait meanwhile: they may hold the same file."""
    connection.execute(LOCK_BUSINESS, {"business_id": business_id})
    for decision in decisions:
        if decision.found is not None:
            _store_receipt(connection, business_id, decision)
        values = {name: getattr(decision, name) for name in ("state", "reason", "rule", "receipt_id")}
        connection.execute(DECIDE, {"id": decision.message, "business_id": business_id, **values, **decision.printed})


def _store_receipt(connection: Connection, business_id: int, decision: Decision) -> None:
    same = _same(connection, business_id, decision)
    if same and not same.is_same and same.alike >= MOST_ALIKE:
        decision.state, decision.reason = "unreadable", "too_many_alike"
        return
    if (same is None or not same.is_same) and all(upload.id for upload in decision.uploads):
        decision.receipt_id = _insert(connection, business_id, decision)
        if decision.receipt_id is not None:
            decision.reason = "receipt" if same is None else "same_file"
            _adopt(connection, business_id, decision)
            return
        same = _same(connection, business_id, decision)
    if same is None or not same.is_same:  # it was there when the files were made, and is gone
        raise Transient("A receipt that this one repeats has gone meanwhile")
    decision.state, decision.reason, decision.receipt_id = "duplicate", "same_receipt", same.id


def _insert(connection: Connection, business_id: int, decision: Decision) -> int | None:
    """None: this mail's receipt is there."""
    found = decision.found
    assert found is not None
    assert found.day is not None
    vendor = "".join(letter for letter in found.vendor or "" if letter.isprintable()).strip() or "unknown"
    moment = datetime.combine(found.day, time(tzinfo=UTC))
    values = {**decision.scope, "business_id": business_id, "vendor": vendor, "received_at": moment}
    made: int | None = connection.execute(INSERT, values).scalar()
    return made


def _adopt(connection: Connection, business_id: int, decision: Decision) -> None:
    for upload in decision.uploads:
        values = {"id": upload.id, "business_id": business_id, "size": len(upload.file.content)}
        if connection.execute(ADOPT, {**values, "receipt_id": decision.receipt_id}).one_or_none() is None:
            raise Transient("A file was collected before its receipt was stored; it is uploaded again")


def _same(connection: Connection, business_id: int, decision: Decision) -> Row[Any] | None:
    """The receipt that this one repeats (`is_same`); else one that has its file and its total."""
    return connection.execute(SAME, {"business_id": business_id, **decision.scope}).one_or_none()
