"""Restores what one delete job has deleted, with its files, within UNDO_DAYS."""

from collections.abc import Iterator

from pydantic import Field
from sqlalchemy import text

from actors.runtime.jobs.kinds import MissingError, RefusedError, Start, job_kind
from actors.runtime.jobs.params import Params
from actors.runtime.jobs.run import Batch, Run

JOB = text("""
    SELECT status FROM background_jobs
    WHERE id = :delete_job_id AND business_id = :business_id AND job_type = 'delete_receipts'
""")

DELETED = """
    business_id = :business_id AND deleted_by_job_id = :delete_job_id AND is_deleted
    AND deleted_at > now() - pg_catalog.make_interval(days => :undo_days)
"""
COUNT = text(f"SELECT count(*) FROM receipts WHERE {DELETED}")  # noqa: S608 - a constant
NEXT = text(f"SELECT id FROM receipts WHERE {DELETED} AND id > :last_id ORDER BY id LIMIT :limit")  # noqa: S608

# Locked, so that the outbox does not start on them now.
FILES = text("""
    SELECT receipt_id FROM attachments
    WHERE receipt_id = ANY(:ids) AND business_id = :business_id AND purge_job_id = :delete_job_id
    ORDER BY id FOR UPDATE
""")
GONE = text("""
    SELECT DISTINCT receipt_id FROM attachments
    WHERE receipt_id = ANY(:ids) AND business_id = :business_id AND purge_job_id = :delete_job_id
      AND (purge_attempts > 0 OR purged_at IS NOT NULL)
""")
KEEP_FILES = text("""
    UPDATE attachments SET purge_requested_at = NULL, purge_after = NULL, purge_job_id = NULL
    WHERE receipt_id = ANY(:ids) AND business_id = :business_id AND purge_job_id = :delete_job_id
""")
RESTORE = text(f"""
    UPDATE receipts SET is_deleted = false, deleted_at = NULL, deleted_by_job_id = NULL
    WHERE id = ANY(:ids) AND {DELETED}
""")  # noqa: S608 - a constant


class RestoreReceipts(Params):
    delete_job_id: int = Field(ge=1, le=2**63 - 1, description="the delete job to undo")


def prepare(start: Start, params: RestoreReceipts) -> RestoreReceipts:
    days = start.settings.UNDO_DAYS
    status = start.connection.execute(JOB, {"business_id": start.business_id, **params.model_dump()}).scalar()
    if status is None:
        raise MissingError(f"Delete job {params.delete_job_id} was not found")
    if status in ("queued", "running", "paused"):
        raise RefusedError(f"Job {params.delete_job_id} is {status}; cancel it first", "delete_job_active")
    if not count(start, params):
        told = f"deleted receipts can be restored for {days} days" if days else "UNDO_DAYS is 0"
        raise RefusedError(f"Job {params.delete_job_id} has nothing to restore: {told}", "nothing_to_restore")
    return params


def count(start: Start, params: RestoreReceipts) -> int:
    scope = {"business_id": start.business_id, "undo_days": start.settings.UNDO_DAYS, **params.model_dump()}
    total: int = start.connection.execute(COUNT, scope).scalar_one()
    return total


@job_kind(
    queue="maintenance",
    params=RestoreReceipts,
    key=lambda params: str(params.delete_job_id),
    prepare=prepare,
    count=count,
    done_label="restored",
    undoes="delete_receipts",
    running_per_business=2,  # a business may have many, one for each job that deleted
)
def restore_receipts(run: Run[RestoreReceipts]) -> Iterator[Batch]:
    undo_days = run.settings.UNDO_DAYS
    for batch in run.batches(NEXT, undo_days=undo_days):
        run.connection.execute(FILES, run.scope(ids=batch.ids))
        gone = set(run.connection.scalars(GONE, run.scope(ids=batch.ids)))  # a receipt without its file is incomplete
        ids = [receipt_id for receipt_id in batch.ids if receipt_id not in gone]
        batch.succeeded = run.connection.execute(RESTORE, run.scope(ids=ids, undo_days=undo_days)).rowcount
        batch.failed = len(gone)
        run.connection.execute(KEEP_FILES, run.scope(ids=ids))
        yield batch
