"""Deletes all receipts of a business, up to the highest id at the start. The outbox then deletes their attachments."""

from collections.abc import Iterator

from sqlalchemy import text

from actors.receipts.attachments import ask_for_purge, purge_stats
from actors.runtime.jobs.kinds import Start, job_kind
from actors.runtime.jobs.params import Params, set_at_start
from actors.runtime.jobs.run import Batch, Run
from sql.engine import execute

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

DELETE = """
    UPDATE receipts SET is_deleted = true, deleted_at = now(), deleted_by_job_id = %(job_id)s
    WHERE id = ANY (%(ids)s) AND business_id = %(business_id)s AND NOT is_deleted
"""


class DeleteReceipts(Params):
    max_id: int = set_at_start(0)  # receipts that arrive later stay


def prepare(start: Start, params: DeleteReceipts) -> DeleteReceipts:
    highest = start.connection.execute(HIGHEST_ID, {"business_id": start.business_id}).scalar() or 0
    return params.model_copy(update={"max_id": highest})


def count(start: Start, params: DeleteReceipts) -> int:
    total: int = start.connection.execute(COUNT, {"business_id": start.business_id, **params.model_dump()}).scalar_one()
    return total


@job_kind(
    queue="maintenance",
    params=DeleteReceipts,
    prepare=prepare,
    count=count,
    stats=purge_stats,
    done_label="deleted",
    confirm="DELETE",
    cooldown_seconds=60,
    old_settings={"COOLDOWN_SECONDS": "DELETE_RATE_LIMIT_SECONDS"},
)
def delete_receipts(run: Run[DeleteReceipts]) -> Iterator[Batch]:
    for batch in run.batches(NEXT):
        batch.succeeded = execute(run.connection, DELETE, run.scope(ids=batch.ids))
        ask_for_purge(run, batch.ids)
        yield batch
