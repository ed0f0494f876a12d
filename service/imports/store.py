"""Stores a batch of lines in Postgres: each receipt once, with its file's row; reports lines that differ."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, text

from actors.receipts.files import SUFFIXES
from service.imports.files import File
from service.imports.lines import Line

# In the order of the lines. If a receipt exists already, or was deleted, the constraint skips it.
INSERT = text("""
    INSERT INTO receipts (business_id, vendor, amount, currency, received_at, source, source_id)
    SELECT :business_id, vendor, amount, currency, received_at, 'import', source_id
    FROM unnest(CAST(:vendors AS text[]), CAST(:amounts AS numeric[]), CAST(:currencies AS text[]),
                CAST(:moments AS timestamptz[]), CAST(:keys AS text[]))
         WITH ORDINALITY AS line (vendor, amount, currency, received_at, source_id, n)
    ORDER BY n
    ON CONFLICT ON CONSTRAINT uq_receipts_business_source DO NOTHING
    RETURNING id, source_id
""")

ATTACH = text("""
    INSERT INTO attachments (id, receipt_id, business_id, object_key, content_type, sha256)
    SELECT id, receipt_id, :business_id,
           pg_catalog.format('businesses/%s/receipts/%s/%s%s', CAST(:business_id AS bigint), receipt_id, id, suffix),
           content_type, sha256
    FROM (SELECT pg_catalog.nextval(pg_catalog.pg_get_serial_sequence('attachments', 'id')::regclass) AS id, file.*
          FROM unnest(CAST(:receipt_ids AS bigint[]), CAST(:suffixes AS text[]),
                      CAST(:content_types AS text[]), CAST(:digests AS bytea[]))
               AS file (receipt_id, suffix, content_type, sha256)) AS numbered
    RETURNING id, receipt_id
""")

THERE = text("""
    SELECT source_id FROM receipts WHERE business_id = :business_id AND source = 'import' AND source_id = ANY(:keys)
""")

KNOWN = text("""
    SELECT r.source_id, r.vendor, r.amount, r.currency, r.received_at, r.is_deleted,
           a.id AS attachment_id, a.size, a.sha256, a.purge_requested_at IS NOT NULL AS is_purged
    FROM receipts r
    LEFT JOIN LATERAL (SELECT * FROM attachments a WHERE a.receipt_id = r.id ORDER BY a.id LIMIT 1) a ON true
    WHERE r.business_id = :business_id AND r.source = 'import' AND r.source_id = ANY(:keys)
""")


@dataclass(frozen=True, slots=True)
class Item:
    """A line that can be imported."""

    number: int
    key: str
    former_key: str | None  # from the importer's first release, if different
    line: Line
    file: File | None


@dataclass
class Stored:
    """The outcome of a batch."""

    made: int = 0
    known: int = 0  # lines whose receipt exists already and is the same
    different: list[str] = field(default_factory=list)  # a sentence for each line whose receipt differs
    to_upload: list[tuple[int, Item]] = field(default_factory=list)  # ids of attachments without an object


def store(connection: Connection, business_id: int, items: Sequence[Item]) -> Stored:
    """Creates the receipts that do not exist yet, with the rows of their files."""
    stored = Stored()
    former = _former(connection, business_id, items)
    first: dict[str, Item] = {}
    for item in items:
        if item.former_key not in former:
            first.setdefault(item.key, item)
    made = _insert(connection, business_id, list(first.values()))
    stored.made = len(made)
    stored.to_upload = _attach(connection, business_id, made)
    mine = {id(item) for _, item in made}
    rest = [item for item in items if id(item) not in mine]
    keys = {id(item): item.former_key if item.former_key in former else item.key for item in rest}
    values = {"business_id": business_id, "keys": list({*keys.values()})}
    known = {row.source_id: row for row in connection.execute(KNOWN, values)} if rest else {}
    for item in rest:
        row = known[keys[id(item)]]
        if difference := _difference(row, item):
            stored.different.append(f"line {item.number}: {difference}")
            continue
        stored.known += 1
        if item.file is not None and row.attachment_id is not None and row.size is None and not row.is_purged:
            stored.to_upload.append((row.attachment_id, item))
    return stored


def _former(connection: Connection, business_id: int, items: Sequence[Item]) -> set[str]:
    """The former keys that have a receipt."""
    keys = [item.former_key for item in items if item.former_key is not None]
    if not keys:
        return set()
    return set(connection.execute(THERE, {"business_id": business_id, "keys": keys}).scalars())


def _insert(connection: Connection, business_id: int, items: list[Item]) -> list[tuple[int, Item]]:
    if not items:
        return []
    values: dict[str, Any] = {
        "business_id": business_id,
        "vendors": [item.line.vendor for item in items],
        "amounts": [item.line.money.amount for item in items],
        "currencies": [item.line.money.currency for item in items],
        "moments": [item.line.received_at for item in items],
        "keys": [item.key for item in items],
    }
    by_key = {item.key: item for item in items}
    return [(row.id, by_key[row.source_id]) for row in connection.execute(INSERT, values)]


def _attach(connection: Connection, business_id: int, made: list[tuple[int, Item]]) -> list[tuple[int, Item]]:
    files = {receipt_id: item for receipt_id, item in made if item.file is not None}
    if not files:
        return []
    found = [item.file for item in files.values() if item.file is not None]
    values = {
        "business_id": business_id,
        "receipt_ids": list(files),
        "suffixes": [SUFFIXES[file.content_type] for file in found],
        "content_types": [file.content_type for file in found],
        "digests": [file.sha256 for file in found],
    }
    return [(row.id, files[row.receipt_id]) for row in connection.execute(ATTACH, values)]


def _difference(row: Row[Any], item: Item) -> str | None:
    """Why this line differs from the receipt under its key; None if it does not."""
    line = item.line
    there = (row.vendor, row.amount, row.currency, row.received_at)
    read = (line.vendor, line.money.amount, line.money.currency, line.received_at)
    if there != read:
        name = "it" if item.key.startswith("sha256:") else f"id {item.key!r}"
        return f"{name} exists already as {_shown(*there)}; found {_shown(*read)}, skipped"
    if item.file is None or row.is_deleted or row.is_purged:
        return None
    if row.attachment_id is None:
        return f"file {item.file.path.name!r}: its receipt was imported without a file, and stays without"
    same = row.size in (None, item.file.size) if row.sha256 is None else bytes(row.sha256) == item.file.sha256
    return None if same else f"file {item.file.path.name!r}: its receipt has another file, and keeps it"


def _shown(vendor: str, amount: Any, currency: str, moment: Any) -> str:
    return f"{vendor[:40]!r}, {amount} {currency}, {moment.isoformat()[:16].removesuffix('T00:00')}"
