"""Imports one file, in batches: receipts in one statement each, files in parallel.

Run again it goes on where it stopped: a line's key (its id, else its hash) is unique in a business, so a receipt is
made once, and one that was deleted stays deleted. An attachment without a size is one whose upload is not known to
have ended; it is uploaded (again).
"""

import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from actors.receipts.dates import Evidence, Order, Rule
from actors.runtime.failures import sqlstate
from actors.runtime.storage import Bucket
from service.imports.files import find_file, unchanged
from service.imports.lines import Reader, keys_of
from service.imports.progress import Progress
from service.imports.rows import Unread
from service.imports.sheet import Sheet
from service.imports.store import Item, Stored, store
from service.imports.survey import Survey
from sql.engine import take_time

BATCH = 1000
UPLOADS = 8  # files that go up at the same time
DEADLOCK = "40P01"

# Held while the file goes up: a delete job that wants this attachment waits, so it never misses an object that is
# just arriving. If this process dies in between, the row still names the object.
HOLD = text("""
    SELECT object_key, content_type FROM attachments
    WHERE id = :id AND size IS NULL AND purge_requested_at IS NULL FOR UPDATE
""")

UPLOADED = text("UPDATE attachments SET size = :size WHERE id = :id")


@dataclass(frozen=True)
class Options:
    """What the owner of a file says about it."""

    currency: str = "USD"  # for lines that name none
    dates: Order | None = None  # None: what the file proves, else day first
    columns: Mapping[str, str] = field(default_factory=dict)  # field → name of its column
    encoding: str | None = None  # None: by its mark, else UTF-8
    files_from: Path | None = None  # None: the folder of the file


@dataclass
class Outcome:
    made: int = 0
    known: int = 0  # lines whose receipt was there already
    uploaded: int = 0
    unread: list[str] = field(default_factory=list)  # a sentence for each line that was left out
    notes: list[str] = field(default_factory=list)  # how the file was read


def import_file(
    file: Path, engine: Engine, bucket: Bucket, business_id: int, options: Options, outcome: Outcome | None = None
) -> Outcome:
    """Loads a file, or stdin for `-`; `outcome` is filled as it goes.

    Raises OSError when the file can't be opened, UnreadableFileError when it can't be read as a whole, and StorageError
    when the bucket does not take a file.
    """
    outcome = outcome or Outcome()
    folder = options.files_from or (None if str(file) == "-" else file.parent)
    with _open(file) as handle, ThreadPoolExecutor(UPLOADS, "upload") as pool, Progress(file.name) as progress:
        sheet = Sheet(handle, name=file.name, encoding=options.encoding, columns=options.columns)
        outcome.notes += sheet.notes
        reader = _survey(sheet, options, outcome)
        items = _items(sheet, reader, folder and folder.resolve(), outcome, progress)
        while batch := list(islice(items, BATCH)):
            stored = _store(engine, business_id, batch)
            outcome.made += stored.made
            outcome.known += stored.known
            outcome.unread += stored.different
            _upload(engine, bucket, stored, pool, outcome)
    return outcome


@contextmanager
def _open(file: Path) -> Iterator[BinaryIO]:
    """The file, or a copy of it when it can't be read twice: stdin, a pipe."""
    with nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb") as handle:
        if handle.seekable():
            yield handle
        else:
            with tempfile.TemporaryFile() as copy:
                shutil.copyfileobj(handle, copy)
                yield copy


def _survey(sheet: Sheet, options: Options, outcome: Outcome) -> Reader:
    """Reads the whole file once. UnreadableFileError when it turns out not to be UTF-8."""
    survey = Survey(Evidence(datetime.now(UTC).date()))
    for row in sheet.rows():
        survey.see(row, sheet)
    if not survey.is_utf_8:
        raise sheet.not_utf_8()
    evidence = survey.evidence
    if options.dates is not None:
        rule = Rule(options.dates, known=True, strict=True)
    else:
        rule = evidence.rule()
        if evidence.open is not None:
            outcome.notes.append(evidence.explain())
    if note := survey.separators.explain():
        outcome.notes.append(note)
    return Reader(
        options.currency,
        rule,
        survey.separators,
        split_by_commas=sheet.delimiter == "," and survey.splits_by_commas,
        latest=datetime.now(UTC) + timedelta(days=366),
        signed_by_direction=bool(options.columns.get("direction")),
    )


def _items(sheet: Sheet, reader: Reader, folder: Path | None, outcome: Outcome, progress: Progress) -> Iterator[Item]:
    """The lines that can be read; the others end up in the outcome."""
    seen: Counter[str] = Counter()
    for row in sheet.rows():
        progress.at(row.last)
        try:
            if isinstance(row, Unread):
                raise ValueError(row.why)
            line = reader.read(row, sheet.layout(row))
            key, former = keys_of(row, line)
            if line.source_id is None:
                seen[key] += 1
                key = f"{key}#{seen[key]}" if seen[key] > 1 else key
            file = find_file(folder, line.file) if line.file is not None else None
            yield Item(row.first, key, former, line, file)
        except (ValueError, RecursionError) as error:
            where = f"line {row.first}" if row.first == row.last else f"lines {row.first} to {row.last}"
            outcome.unread.append(f"{where}: {error}")


def _store(engine: Engine, business_id: int, batch: list[Item]) -> Stored:
    """In one transaction. Two imports of the same lines in another order may deadlock; then once more."""
    for attempt in range(5):
        try:
            with engine.begin() as connection:
                return store(connection, business_id, batch)
        except DBAPIError as error:
            if sqlstate(error) != DEADLOCK or attempt == 4:
                raise
    raise AssertionError("unreachable")


def _upload(engine: Engine, bucket: Bucket, stored: Stored, pool: ThreadPoolExecutor, outcome: Outcome) -> None:
    """Uploads in parallel. A file that can't be read any more is named; a bucket that refuses ends it."""
    tasks = [
        (item, pool.submit(_upload_one, engine, bucket, attachment_id, item))
        for attachment_id, item in stored.to_upload
    ]
    try:
        for item, task in tasks:
            try:
                outcome.uploaded += task.result()
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) and error.strerror else error
                outcome.unread.append(f"line {item.number}: its receipt is made, but its file is not uploaded: {why}")
    except BaseException:
        for _, task in tasks:
            task.cancel()
        raise


def _upload_one(engine: Engine, bucket: Bucket, attachment_id: int, item: Item) -> bool:
    """False when somebody else has uploaded it, or its receipt is about to go."""
    assert item.file is not None
    with engine.begin() as connection:
        take_time(connection)  # a large file on a slow line
        held = connection.execute(HOLD, {"id": attachment_id}).one_or_none()
        if held is None:
            return False
        with unchanged(item.file) as handle:
            size = bucket.put(held.object_key, handle, held.content_type)
        connection.execute(UPLOADED, {"id": attachment_id, "size": size})
        return True
