"""`python -m service import`: receipts from JSON Lines or CSV, their files into the bucket.

Run again it goes on where it stopped: a line's key (its id, else its hash) is unique in a business, so a receipt is
made once, and one that was deleted stays deleted. An attachment without a size is one whose upload is not known to
have ended; it is uploaded (again).
"""

import csv
import hashlib
import json
import mimetypes
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, text
from tqdm import tqdm

from actors.runtime.storage import Bucket
from service.parsing import Line, parse_line
from sql.engine import take_time

BATCH = 200
MAX_FILE_BYTES = 50 * 1024 * 1024
csv.field_size_limit(1024 * 1024)

INSERT = text("""
    INSERT INTO receipts (business_id, vendor, amount, currency, received_at, source, source_id)
    VALUES (:business_id, :vendor, :amount, :currency, :received_at, 'import', :source_id)
    ON CONFLICT ON CONSTRAINT uq_receipts_business_source DO NOTHING
    RETURNING id
""")

ATTACH = text("""
    INSERT INTO attachments (id, receipt_id, business_id, object_key, content_type)
    SELECT id, :receipt_id, :business_id,
           format('businesses/%s/receipts/%s/%s%s', CAST(:business_id AS bigint), CAST(:receipt_id AS bigint), id,
                  CAST(:suffix AS text)), :content_type
    FROM nextval(pg_get_serial_sequence('attachments', 'id')) AS id
""")

NOT_UPLOADED = text("""
    SELECT a.id, r.source_id FROM attachments a JOIN receipts r ON r.id = a.receipt_id
    WHERE r.business_id = :business_id AND r.source = 'import' AND r.source_id = ANY(:keys)
      AND a.size IS NULL AND a.purge_requested_at IS NULL
""")

# Held while the file goes up: a delete job that wants this attachment waits, so it never misses an object that is
# just arriving. Dies this process in between, the row still names the object.
HOLD = text("""
    SELECT object_key, content_type FROM attachments
    WHERE id = :id AND size IS NULL AND purge_requested_at IS NULL FOR UPDATE
""")

UPLOADED = text("UPDATE attachments SET size = :size WHERE id = :id")


@dataclass
class Outcome:
    made: int = 0
    known: int = 0  # lines whose receipt was there already
    uploaded: int = 0
    unread: list[str] = field(default_factory=list)  # a sentence for each line that could not be read


@dataclass(frozen=True)
class Item:
    key: str
    line: Line
    path: Path | None
    content_type: str | None


def import_file(file: Path, engine: Engine, bucket: Bucket, business_id: int, currency: str) -> Outcome:
    """Loads the file; raises OSError when it cannot be opened, StorageError when the bucket does not take a file."""
    outcome = Outcome()
    with ExitStack() as defer:
        lines = defer.enter_context(_open(file))
        bar = defer.enter_context(tqdm(unit=" lines", desc=file.name, file=sys.stderr))
        items = _items(lines, file, currency, outcome)
        while batch := list(islice(items, BATCH)):
            with engine.begin() as connection:
                for item in batch:
                    _insert(connection, business_id, item, outcome)
            _upload(engine, bucket, business_id, batch, outcome)
            bar.update(len(batch))
    return outcome


class _open:  # noqa: N801 - used like open()
    """The lines of a file as (line number, fields or the error in reading them)."""

    def __init__(self, file: Path) -> None:
        self._csv = file.suffix.lower() == ".csv"
        self._handle = file.open("rb")

    def __enter__(self) -> Iterator[tuple[int, Mapping[str, Any] | ValueError]]:
        return self._csv_lines() if self._csv else self._json_lines()

    def __exit__(self, *_error: object) -> None:
        self._handle.close()

    def _json_lines(self) -> Iterator[tuple[int, Mapping[str, Any] | ValueError]]:
        for number, raw in enumerate(self._handle, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                fields = json.loads(line, parse_float=Decimal) if line else None
            except UnicodeDecodeError:
                yield number, ValueError("found bytes that are no text in UTF-8")
            except (ValueError, RecursionError) as error:
                yield number, ValueError(f"expected a JSON object: {error}")
            else:
                if isinstance(fields, dict):
                    yield number, fields
                elif line:
                    yield number, ValueError(f"found {line[:40]!r}, expected a JSON object")

    def _csv_lines(self) -> Iterator[tuple[int, Mapping[str, Any] | ValueError]]:
        text_lines = (
            raw.decode("utf-8-sig" if not n else "utf-8", "surrogateescape") for n, raw in enumerate(self._handle)
        )
        reader = csv.DictReader(text_lines)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield reader.line_num, ValueError(str(error))
                continue
            if None in row:
                yield reader.line_num, ValueError("found more fields than the header names")
            else:
                yield reader.line_num, {(name or "").strip().lower(): value for name, value in row.items()}


def _items(
    lines: Iterable[tuple[int, Mapping[str, Any] | ValueError]], file: Path, currency: str, outcome: Outcome
) -> Iterator[Item]:
    """The lines that can be read; the others end up in the outcome."""
    for number, fields in lines:
        try:
            if isinstance(fields, ValueError):
                raise fields
            line = parse_line(fields, currency)
            path = None if line.file is None else file.parent / line.file
            yield Item(line.source_id or _hash(fields), line, path, None if path is None else _content_type(path))
        except ValueError as error:
            outcome.unread.append(f"line {number}: {error}")


def _hash(fields: Mapping[str, Any]) -> str:
    line = json.dumps(fields, sort_keys=True, default=str)
    return f"sha256:{hashlib.sha256(line.encode()).hexdigest()}"


def _content_type(path: Path) -> str:
    content_type = mimetypes.guess_type(path.name)[0] or ""
    if not content_type.startswith("image/") and content_type != "application/pdf":
        raise ValueError(f"file {str(path)!r}: expected an image or a PDF")
    try:
        size = path.stat().st_size if path.is_file() else None
    except OSError:
        size = None
    if size is None:
        raise ValueError(f"file {str(path)!r} is not there")
    if size > MAX_FILE_BYTES:
        raise ValueError(f"file {str(path)!r}: found {size} bytes, expected at most {MAX_FILE_BYTES}")
    return content_type


def _insert(connection: Connection, business_id: int, item: Item, outcome: Outcome) -> None:
    line = item.line
    values = {
        "business_id": business_id,
        "vendor": line.vendor,
        "amount": line.amount,
        "currency": line.currency,
        "received_at": line.received_at,
        "source_id": item.key,
    }
    receipt_id = connection.execute(INSERT, values).scalar()
    if receipt_id is None:
        outcome.known += 1
        return
    outcome.made += 1
    if item.path is not None:
        suffix = item.path.suffix.lower()
        file = {"receipt_id": receipt_id, "business_id": business_id, "suffix": suffix}
        connection.execute(ATTACH, {**file, "content_type": item.content_type})


def _upload(engine: Engine, bucket: Bucket, business_id: int, batch: list[Item], outcome: Outcome) -> None:
    paths = {item.key: item.path for item in batch if item.path is not None}
    if not paths:
        return
    with engine.begin() as connection:
        waiting = connection.execute(NOT_UPLOADED, {"business_id": business_id, "keys": list(paths)}).all()
    for attachment_id, key in waiting:
        with engine.begin() as connection:
            take_time(connection)  # a large file on a slow line
            held = connection.execute(HOLD, {"id": attachment_id}).one_or_none()
            if held is not None:
                size = bucket.put(held.object_key, paths[key], held.content_type)
                connection.execute(UPLOADED, {"id": attachment_id, "size": size})
                outcome.uploaded += 1
