"""The files of receipts: requesting their purge when receipts are deleted, and its results."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from actors.runtime.jobs.run import Run
from sql.engine import execute, fetch

ASK_FOR_PURGE = """
    UPDATE attachments
    SET purge_requested_at = now(), purge_after = now() + pg_catalog.make_interval(days => %(days)s),
        purge_job_id = %(job_id)s
    WHERE receipt_id = ANY (%(ids)s) AND business_id = %(business_id)s AND purge_requested_at IS NULL
"""

COUNTS = """
    SELECT job_id, deleted + kept AS deleted, failed, pending, kept, error FROM attachment_counts
    WHERE job_id = ANY (%(job_ids)s)
"""
NONE: dict[str, Any] = {"attachments_deleted": 0, "attachments_failed": 0, "attachments_pending": 0}


def ask_for_purge(run: Run[Any], receipt_ids: Sequence[int]) -> None:
    """Call it in the transaction that deletes the receipts; the outbox purges the files once UNDO_DAYS have passed."""
    days = run.settings.UNDO_DAYS
    execute(run.connection, ASK_FOR_PURGE, run.scope(ids=receipt_ids, days=days))


def purge_stats(connection: Connection, job_ids: Sequence[int]) -> Mapping[int, dict[str, Any]]:
    """By job: how many attachments it has asked to purge, by result."""
    found: dict[int, dict[str, Any]] = dict.fromkeys(job_ids, NONE)
    for row in fetch(connection, COUNTS, {"job_ids": list(job_ids)}):
        found[row["job_id"]] = {
            "attachments_deleted": row["deleted"],
            "attachments_failed": row["failed"],
            "attachments_pending": row["pending"],
            **({"attachments_with_versions_kept": row["kept"]} if row["kept"] else {}),
            **({"attachments_error": for_members(row["error"])} if row["error"] is not None else {}),
        }
    return found


def for_members(error: str) -> str:
    """Every member of the business can read it, so it does not name our bucket. In SQL: public.for_members()."""
    said = re.sub(r"^bucket '[^']*' at \S+", "the bucket", error)
    return re.sub(r"arn:\S+|https?://\S+|\b\d{12}\b", "…", said)
