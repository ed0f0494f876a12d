"""Writes the receipts of a period into one file in the bucket, as CSV or JSON Lines. The file is kept for a week."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Literal

from pydantic import Field, model_validator
from sqlalchemy import Connection, text

from actors.receipts.attachments import for_members
from actors.runtime.base.errors import StorageError
from actors.runtime.base.multipart import PART_BYTES, Multipart
from actors.runtime.jobs.kinds import Result, Start, job_kind
from actors.runtime.jobs.params import Params, set_at_start
from actors.runtime.jobs.run import Batch, Run
from actors.runtime.jobs.verdicts import Permanent, Transient, Verdict

KEPT_DAYS = 7
UPLOAD_SECONDS = 60
COLUMNS = ("id", "vendor", "amount", "currency", "received_at", "source", "source_id", "created_at")
FORMATS = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}
# Places where a spreadsheet would take what follows for a formula: the start of a text, and after each semicolon, tab
# or line break. In many countries spreadsheets split a CSV at semicolons, and then ignore quotes in the middle of a
# line. Full-width signs count too.
FORMULA = re.compile(r"""^(?=[\t\r\n])|(?:^|(?<=[;\t\r\n]))(?=[\s"]*[=+\-@\uff1d\uff0b\uff0d\uff20])""")

PERIOD = """
    business_id = :business_id AND id <= :max_id AND NOT is_deleted
    AND (CAST(:from_date AS date) IS NULL OR received_at >= CAST(:from_date AS date))
    AND (CAST(:to_date AS date) IS NULL OR received_at < CAST(:to_date AS date) + 1)
"""
COUNT = text(f"SELECT count(*) FROM receipts WHERE {PERIOD}")  # noqa: S608 - a constant
NEXT = text(f"""
    SELECT {", ".join(COLUMNS)} FROM receipts WHERE {PERIOD} AND id > :last_id ORDER BY id LIMIT :limit
""")  # noqa: S608 - constants
HIGHEST_ID = text("SELECT coalesce(max(id), 0) FROM receipts WHERE business_id = :business_id AND NOT is_deleted")

# A file without a receipt, marked for purge from the start: whatever happens, it does not stay.
MAKE_FILE = text("""
    INSERT INTO attachments (id, business_id, object_key, content_type, purge_requested_at, purge_after)
    SELECT id, :business_id, format('businesses/%s/exports/%s.%s', CAST(:business_id AS bigint), id,
                                    CAST(:format AS text)), :content_type, now(), now() + make_interval(days => :days)
    FROM (SELECT nextval(pg_get_serial_sequence('public.attachments', 'id')) AS id) AS numbered
    RETURNING id, object_key
""")
KEEP_FILE = text("""
    UPDATE attachments SET purge_after = now() + make_interval(days => :days)
    WHERE id = :file_id AND business_id = :business_id AND purge_attempts = 0 AND purge_after > now()
    RETURNING id
""")
FIND_FILE = text("""
    SELECT object_key FROM attachments
    WHERE id = :file_id AND business_id = :business_id AND purge_attempts = 0 AND purge_after > now()
""")


class ExportReceipts(Params):
    format: Literal["csv", "jsonl"] = "csv"
    from_date: date | None = Field(default=None, description="the first day of received_at, in UTC")
    to_date: date | None = Field(default=None, description="the last day of received_at, in UTC")
    max_id: int = set_at_start(0)  # receipts that arrive later are not included

    @model_validator(mode="after")
    def _in_order(self) -> "ExportReceipts":
        if self.from_date and self.to_date and self.from_date > self.to_date:
            raise ValueError(f"from_date: found {self.from_date}, expected a day up to to_date, {self.to_date}")
        return self


def prepare(start: Start, params: ExportReceipts) -> ExportReceipts:
    highest = start.connection.execute(HIGHEST_ID, {"business_id": start.business_id}).scalar_one()
    return params.model_copy(update={"max_id": highest})


def count(start: Start, params: ExportReceipts) -> int:
    total: int = start.connection.execute(COUNT, {"business_id": start.business_id, **params.model_dump()}).scalar_one()
    return total


def result(connection: Connection, job: Mapping[str, Any]) -> Result | None:
    file_id = (job["cursor"] or {}).get("file_id")
    key = connection.execute(FIND_FILE, {"file_id": file_id, "business_id": job["business_id"]}).scalar()
    return None if key is None else Result(key, f"receipts-{job['id']}.{job['params'].get('format', 'csv')}")


def classify(error: Exception) -> Verdict | None:
    return Transient(for_members(str(error))) if isinstance(error, StorageError) else None


@job_kind(
    queue="receipts",
    params=ExportReceipts,
    prepare=prepare,
    count=count,
    result=result,
    classify=classify,
    done_label="exported",
    batch_size=1000,
)
def export_receipts(run: Run[ExportReceipts]) -> Iterator[Batch]:
    cursor = dict(run.cursor)
    if not cursor:
        cursor = _make_file(run)
        yield run.take([], cursor)
    while not cursor["done"]:
        ids, body = _read_part(run, cursor["last_id"], with_head=not cursor["parts"])
        cursor = {**cursor, "last_id": ids[-1] if ids else cursor["last_id"], "done": len(body) < PART_BYTES}
        batch = run.take(ids, cursor)
        batch.succeeded = len(ids)
        _write_part(run, cursor, body)
        yield batch


def _make_file(run: Run[ExportReceipts]) -> dict[str, Any]:
    kind = run.params.format
    file = run.begin().execute(MAKE_FILE, run.scope(content_type=FORMATS[kind], days=KEPT_DAYS)).one()
    return {"file_id": file.id, "key": file.object_key, "upload_id": None, "parts": [], "last_id": 0, "done": False}


def _read_part(run: Run[ExportReceipts], last_id: int, *, with_head: bool) -> tuple[list[int], bytes]:
    """Whole receipts until they fill a part; the last part may be smaller."""
    written = io.StringIO(newline="")
    rows = _Rows(written, run.params.format)
    if with_head:
        rows.head()
    ids: list[int] = []
    connection = run.begin()
    size = 0
    while size < PART_BYTES:
        page = connection.execute(NEXT, run.scope(last_id=last_id, limit=run.limit)).mappings().all()
        for row in page:
            rows.write(row)
            ids.append(row["id"])
        if len(page) < run.limit:
            break
        last_id, size = ids[-1], written.tell()  # counts characters; bytes are at least as many
    run.commit()
    return ids, written.getvalue().encode()


def _write_part(run: Run[ExportReceipts], cursor: dict[str, Any], body: bytes) -> None:
    """Outside a transaction. If repeated after a crash, these calls change nothing."""
    key, parts = cursor["key"], cursor["parts"]
    if cursor["done"]:
        _keep_file(run, cursor["file_id"])
    if cursor["done"] and not parts:
        run.call(run.bucket.put, key, io.BytesIO(body), FORMATS[run.params.format], seconds=UPLOAD_SECONDS)
        return
    if cursor["upload_id"] is None:
        cursor["upload_id"] = run.call(Multipart.begin, run.bucket, key, FORMATS[run.params.format]).upload_id
    upload = Multipart(run.bucket, key, cursor["upload_id"])
    if body:
        part = run.call(upload.upload, len(parts) + 1, body, seconds=UPLOAD_SECONDS)
        cursor["parts"] = [*parts, part]
    if cursor["done"]:
        run.call(upload.complete, cursor["parts"], seconds=UPLOAD_SECONDS)


def _keep_file(run: Run[ExportReceipts], file_id: int) -> None:
    """Keeps the file for a week from now, unless the job was paused for so long that the file is gone."""
    kept = run.begin().execute(KEEP_FILE, run.scope(file_id=file_id, days=KEPT_DAYS)).one_or_none()
    run.commit()
    if kept is None:
        raise Permanent(f"This export was started more than {KEPT_DAYS} days ago; start another one", "expired")


class _Rows:
    """Writes receipts in one of the formats."""

    def __init__(self, output: io.StringIO, kind: str) -> None:
        self._output = output
        self._csv = csv.writer(output) if kind == "csv" else None

    def head(self) -> None:
        if self._csv is not None:
            self._output.write("\ufeff")  # so that spreadsheets recognise UTF-8
            self._csv.writerow(COLUMNS)

    def write(self, row: Mapping[Any, Any]) -> None:
        if self._csv is not None:
            self._csv.writerow(_cell(row[name]) for name in COLUMNS)
        else:
            self._output.write(json.dumps(dict(row), default=_json, ensure_ascii=False) + "\n")


def _cell(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula gets an apostrophe; numbers are ours."""
    if isinstance(value, str):
        return FORMULA.sub("'", value)
    return value.isoformat() if isinstance(value, date) else value


def _json(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)  # exact amounts, as text
