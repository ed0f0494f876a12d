"""Imports one file, in batches.

If run again, it continues where it stopped: a line's key (its id, else its hash) is unique in a business, so a receipt
is created once, and a deleted one stays deleted.
"""

import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from threading import Event
from typing import BinaryIO

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from actors.receipts.day_order import Evidence, Rule
from actors.receipts.days import Order
from actors.runtime.base.failures import sqlstate
from actors.runtime.base.storage import Bucket
from service.imports.files import find_file
from service.imports.lines import Reader, keys_of
from service.imports.progress import Progress
from service.imports.rows import Unread, UnreadableFileError
from service.imports.sheet import Sheet
from service.imports.store import Item, Stored, store
from service.imports.survey import Survey
from service.imports.uploads import Uploader

BATCH = 1000
DEADLOCK = "40P01"


@dataclass(frozen=True)
class Options:
    """What a file's owner says about it."""

    currency: str = "USD"  # for lines without one
    dates: Order | None = None  # None: as the file proves, else day first
    columns: Mapping[str, str] = field(default_factory=dict)  # field → name of its column
    encoding: str | None = None  # None: by its byte order mark, else UTF-8
    files_from: Path | None = None  # None: the folder of the file


@dataclass
class Outcome:
    made: int = 0
    known: int = 0  # lines whose receipt existed already
    uploaded: int = 0
    unread: list[str] = field(default_factory=list)  # a sentence for each skipped line
    notes: list[str] = field(default_factory=list)  # how the file was read


def import_file(
    file: Path,
    engine: Engine,
    bucket: Bucket,
    business_id: int,
    options: Options,
    outcome: Outcome | None = None,
    interrupted: Event | None = None,
) -> Outcome:
    """Loads a file, or stdin for `-`; fills `outcome` as it goes; `interrupted` ends it with KeyboardInterrupt.

    Raises OSError if the file can't be opened, UnreadableFileError if it can't be read as a whole, and StorageError
    if the bucket refuses a file.
    """
    outcome = outcome or Outcome()
    folder = options.files_from or (None if str(file) == "-" else file.parent)
    with ExitStack() as defer:
        handle = defer.enter_context(_open(file))
        progress = defer.enter_context(Progress(file.name))
        sheet = Sheet(handle, name=file.name, encoding=options.encoding, columns=options.columns)
        outcome.notes += sheet.notes
        items = _items(sheet, _survey(sheet, options, outcome), folder and folder.resolve(), outcome, progress)
        uploader = defer.enter_context(Uploader(engine, bucket))
        writer = defer.enter_context(ThreadPoolExecutor(1, "writer"))
        writing: Future[None] | None = None
        while batch := list(islice(items, BATCH)):  # read while the previous batch is written
            if writing is not None:
                writing.result()
            if interrupted is not None and interrupted.is_set():
                raise KeyboardInterrupt
            writing = writer.submit(_write, engine, uploader, business_id, batch, outcome)
        if writing is not None:
            writing.result()
    return outcome


def _write(engine: Engine, uploader: Uploader, business_id: int, batch: list[Item], outcome: Outcome) -> None:
    stored = _store(engine, business_id, batch)
    outcome.made += stored.made
    outcome.known += stored.known
    outcome.unread += stored.different
    uploaded = uploader.upload(stored.to_upload)
    outcome.uploaded += uploaded.files
    outcome.unread += uploaded.failed


@contextmanager
def _open(file: Path) -> Iterator[BinaryIO]:
    """The file, or a copy if it can't be read twice: stdin, a pipe."""
    with nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb") as handle:
        if handle.seekable():
            yield handle
        else:
            with tempfile.TemporaryFile() as copy:
                shutil.copyfileobj(handle, copy)
                yield copy


def _survey(sheet: Sheet, options: Options, outcome: Outcome) -> Reader:
    """Reads the whole file once. UnreadableFileError if it turns out not to be UTF-8."""
    survey = Survey(Evidence(datetime.now(UTC).date()))
    for row in sheet.rows():
        survey.see(row, sheet)
        if survey.undecoded > 1000 and not survey.foreign:
            break
    if not survey.is_utf_8:
        raise sheet.not_utf_8()
    if survey.codes is not None:
        name = survey.codes.strip()
        raise UnreadableFileError(
            f"the column {name!r} holds currency codes; use --columns 'currency={name}', or --columns currency="
        )
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
    """In one transaction. Two imports of the same lines in different orders may deadlock; then tries once more."""
    for attempt in range(5):
        try:
            with engine.begin() as connection:
                return store(connection, business_id, batch)
        except DBAPIError as error:
            if sqlstate(error) != DEADLOCK or attempt == 4:
                raise
    raise AssertionError("unreachable")
