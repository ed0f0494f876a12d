"""Deletes all receipts of a business, up to the highest id at the start. Their attachments follow by the outbox."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, text

from actors.runtime.jobs.kinds import job_kind
from actors.runtime.jobs.run import Batch, Run

COUNT = text("""
    SELECT count(*) FROM receipts WHERE business_id = :business_id AND id <= :max_id AND NOT is_deleted
""")

HIGHEST_ID = text("""
    SELECT id FROM receipts WHERE business_id = :business_id AND NOT is_deleted ORDER BY id DESC LIMIT 1
""")

NEXT = text("""
    SELECT id FROM receipts
    WHERE business_id = :business_id AND id > :last_id AND id <= :max_id AND NOT is_deleted
    ORDER BY id LIMIT :limit
""")

DELETE = text("""
    UPDATE receipts SET is_deleted = true, deleted_at = now()
    WHERE id = ANY(:ids) AND business_id = :business_id AND NOT is_deleted
""")

ASK_FOR_PURGE = text("""
    UPDATE attachments SET purge_requested_at = now(), purge_after = now(), purge_job_id = :job_id
    WHERE receipt_id = ANY(:ids) AND business_id = :business_id AND purge_requested_at IS NULL
""")


def bounds(connection: Connection, business_id: int) -> dict[str, int]:
    """The params of a job that starts now: receipts that arrive later stay."""
    return {"max_id": connection.execute(HIGHEST_ID, {"business_id": business_id}).scalar() or 0}


def count(connection: Connection, business_id: int, params: dict[str, Any]) -> int:
    """How many receipts a job with these params will meet."""
    total: int = connection.execute(COUNT, {"business_id": business_id, **params}).scalar_one()
    return total


@job_kind(queue="maintenance", count=count, done_label="deleted")
def delete_receipts(run: Run) -> Iterator[Batch]:
    last_id = run.cursor["last_id"] if run.cursor else 0
    scope = {"business_id": run.business_id, "job_id": run.job_id, "max_id": run.params["max_id"]}
    while ids := run.connection.scalars(NEXT, {**scope, "last_id": last_id, "limit": run.limit}).all():
        last_id = ids[-1]
        batch = run.take(ids, cursor={"last_id": last_id})
        batch.succeeded = run.connection.execute(DELETE, {**scope, "ids": ids}).rowcount
        run.connection.execute(ASK_FOR_PURGE, {**scope, "ids": ids})
        yield batch
