"""The outbox of the bucket: objects whose receipts are deleted. They are deleted in bulk, and retried until gone.

The batch that deletes a receipt marks its attachments in the same transaction; only these marks say what to do.
So any worker finds here what a crash or an outage of the bucket has left behind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, TextClause, text

from actors.runtime.base.apart import write_apart
from actors.runtime.base.errors import StorageError
from actors.runtime.base.storage import MAX_KEYS, NOT_TRIED, Bucket

log = structlog.get_logger("longhaul.storage")

DUE = text("""
    SELECT id FROM attachments
    WHERE purge_requested_at IS NOT NULL AND purged_at IS NULL AND purge_after <= now()
    ORDER BY purge_after LIMIT :limit
""")

# Longer than any call to the bucket (30 s): nobody else tries the same objects in that time.
LEASE = text("""
    UPDATE attachments SET purge_after = now() + interval '45 seconds', purge_attempts = purge_attempts + 1
    WHERE id IN (
        SELECT id FROM attachments
        WHERE id = ANY (:ids) AND purge_requested_at IS NOT NULL AND purged_at IS NULL AND purge_after <= now()
        FOR UPDATE SKIP LOCKED)
    RETURNING id, object_key
""")

# Still with an error if the store keeps earlier versions that we can't delete.
PURGED = text("""
    UPDATE attachments a SET purged_at = now(), purge_error = found.error
    FROM unnest(CAST(:ids AS bigint[]), CAST(:errors AS text[])) AS found (id, error)
    WHERE a.id = found.id AND a.purged_at IS NULL
""")

GIVE_BACK = text("""
    UPDATE attachments a SET purge_after = now(), purge_attempts = purge_attempts - 1
    FROM unnest(CAST(:ids AS bigint[]), CAST(:errors AS text[])) AS found (id, error)
    WHERE a.id = found.id AND a.purged_at IS NULL AND a.purge_attempts > 0
""")

# 2, 4, 8 … seconds, at most an hour.
FAILED = text("""
    UPDATE attachments a
    SET purge_error = found.error, purge_after = now() + least(
        interval '1 hour', interval '1 second' * pg_catalog.power(2::float8, least(a.purge_attempts, 12)::float8))
    FROM unnest(CAST(:ids AS bigint[]), CAST(:errors AS text[])) AS found (id, error)
    WHERE a.id = found.id AND a.purged_at IS NULL
""")


@dataclass(frozen=True)
class Purged:
    deleted: int
    failed: int


def purge(engine: Engine, bucket: Bucket, limit: int = MAX_KEYS) -> Purged:
    """One round: up to `limit` due objects. No transaction is open during calls to the bucket."""
    with engine.connect() as session:
        with session.begin():
            ids = session.scalars(DUE, {"limit": limit}).all()
        due = {row.object_key: row.id for row in write_apart(session, LEASE, ids, what="lease")}
    if not due:
        return Purged(0, 0)
    try:
        found, kept = bucket.delete(list(due)), bucket.kept_versions()
    except StorageError as error:  # the settings themselves are invalid
        found, kept = dict.fromkeys(due, str(error)), None
    errors = {key: error for key, error in found.items() if error != NOT_TRIED}
    not_tried = [due[key] for key, error in found.items() if error == NOT_TRIED]
    gone = [attachment_id for key, attachment_id in due.items() if key not in found]
    with engine.connect() as session:
        _note(session, PURGED, [{"id": attachment_id, "error": kept} for attachment_id in gone])
        _note(session, FAILED, [{"id": due[key], "error": error[:500]} for key, error in errors.items()])
        _note(session, GIVE_BACK, [{"id": attachment_id, "error": None} for attachment_id in not_tried])
    log.info("storage.purged", deleted=len(gone), failed=len(errors), error=next(iter(errors.values()), None))
    return Purged(len(gone), len(errors))


def _note(session: Connection, statement: TextClause, outcomes: list[dict[str, Any]]) -> None:
    """Records the results; a row that cannot be written is left, and retried when its lease expires."""

    def bind(some: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {"ids": [one["id"] for one in some], "errors": [one["error"] for one in some]}

    for _ in write_apart(session, statement, outcomes, bind, what="purge"):
        pass


def purge_all_due(engine: Engine, bucket: Bucket) -> None:
    """Runs rounds until nothing is due, or the bucket refuses a whole round."""
    while purge(engine, bucket).deleted:
        pass
