"""Writes the receipts of a period into one file in the bucket, as CSV or JSON Lines. The file is kept for a week."""

import io
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Literal

from pydantic import Field, model_validator
from sqlalchemy import Connection, text

from actors.receipts.attachments import for_members
from actors.receipts.lines import COLUMNS, Lines
from actors.runtime.base.errors import StorageError
from actors.runtime.base.multipart import PART_BYTES, Multipart
from actors.runtime.jobs.kinds import Result, Start, job_kind
from actors.runtime.jobs.params import Params, set_at_start
from actors.runtime.jobs.run import Batch, Run
from actors.runtime.jobs.verdicts import Permanent, Transient, Verdict

KEPT_DAYS = 7
MOST_KEPT = 10  # files of one business
UPLOAD_SECONDS = 60
FORMATS = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}

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
    SELECT id, :business_id, pg_catalog.format('businesses/%s/exports/%s.%s', CAST(:business_id AS bigint), id,
                                               CAST(:format AS text)),
           :content_type, now(), now() + pg_catalog.make_interval(days => :days)
    FROM (SELECT pg_catalog.nextval(pg_catalog.pg_get_serial_sequence('public.attachments', 'id')::regclass) AS id)
         AS numbered
    RETURNING id, object_key
""")
KEEP_FILE = text("""
    UPDATE attachments SET purge_after = now() + pg_catalog.make_interval(days => :days)
    WHERE id = :file_id AND business_id = :business_id AND purge_attempts = 0 AND purge_after > now()
    RETURNING id
""")
# Of the exports before: beyond the last ones, a file is given up for a new one.
GIVE_UP_OLD = text("""
    UPDATE attachments SET purge_after = now()
    WHERE business_id = :business_id AND purge_attempts = 0 AND purge_after > now() AND id IN (
        SELECT CAST(cursor ->> 'file_id' AS bigint) FROM background_jobs
        WHERE business_id = :business_id AND job_type = 'export_receipts' AND id <> :job_id AND cursor ? 'file_id'
        ORDER BY id DESC OFFSET :most LIMIT 10)
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
    run.begin().execute(GIVE_UP_OLD, run.scope(job_id=run.job_id, most=MOST_KEPT - 1))
    file = run.connection.execute(MAKE_FILE, run.scope(content_type=FORMATS[kind], days=KEPT_DAYS)).one()
    return {"file_id": file.id, "key": file.object_key, "upload_id": None, "parts": [], "last_id": 0, "done": False}


def _read_part(run: Run[ExportReceipts], last_id: int, *, with_head: bool) -> tuple[list[int], bytes]:
    """Whole receipts until they fill a part; the last part may be smaller."""
    written = io.StringIO(newline="")
    lines = Lines(written, run.params.format)
    if with_head:
        lines.head()
    ids: list[int] = []
    connection = run.begin()
    size = 0
    while size < PART_BYTES:
        page = connection.execute(NEXT, run.scope(last_id=last_id, limit=run.limit)).mappings().all()
        for row in page:
            lines.write(row)
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
        raise Permanent(
            f"This export was started more than {KEPT_DAYS} days ago, or {MOST_KEPT} others since; start another one",
            "expired",
        )
