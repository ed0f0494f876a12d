"""The outbox of the bucket: objects whose receipts are gone, deleted in bulk, and tried again until they are.

The batch that deletes a receipt marks its attachments, in its own transaction; nothing but those marks says what is
to be done. So whatever a crash or an outage of the bucket leaves behind is found here, by any worker.
"""

from dataclasses import dataclass

import structlog
from sqlalchemy import Engine, text

from actors.runtime.errors import StorageError
from actors.runtime.storage import MAX_KEYS, NOT_TRIED, Bucket

log = structlog.get_logger("longhaul.storage")

# Longer than any call to the bucket takes (30 s): nobody else tries the same objects meanwhile.
LEASE = text("""
    UPDATE attachments SET purge_after = now() + interval '45 seconds', purge_attempts = purge_attempts + 1
    WHERE id IN (
        SELECT id FROM attachments
        WHERE purge_requested_at IS NOT NULL AND purged_at IS NULL AND purge_after <= now()
        ORDER BY purge_after LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING id, object_key
""")

# With an error all the same when the store keeps earlier versions that we can't delete.
PURGED = text("""
    UPDATE attachments SET purged_at = now(), purge_error = :kept WHERE id = ANY(:ids) AND purged_at IS NULL
""")

GIVE_BACK = text("""
    UPDATE attachments SET purge_after = now(), purge_attempts = purge_attempts - 1
    WHERE id = ANY(:ids) AND purged_at IS NULL AND purge_attempts > 0
""")

# 2, 4, 8 … seconds, an hour at most.
FAILED = text("""
    UPDATE attachments a
    SET purge_error = failed.error,
        purge_after = now() + least(interval '1 hour', interval '1 second' * power(2, least(a.purge_attempts, 12)))
    FROM unnest(CAST(:ids AS bigint[]), CAST(:errors AS text[])) AS failed (id, error)
    WHERE a.id = failed.id AND a.purged_at IS NULL
""")


@dataclass(frozen=True)
class Purged:
    deleted: int
    failed: int


def purge(engine: Engine, bucket: Bucket, limit: int = MAX_KEYS) -> Purged:
    """One round: up to `limit` objects that are due. No transaction is open while the bucket is asked."""
    with engine.begin() as connection:
        due = {row.object_key: row.id for row in connection.execute(LEASE, {"limit": limit})}
    if not due:
        return Purged(0, 0)
    try:
        found, kept = bucket.delete(list(due)), bucket.kept_versions()
    except StorageError as error:  # the settings themselves can't be used
        found, kept = dict.fromkeys(due, str(error)), None
    errors = {key: error for key, error in found.items() if error != NOT_TRIED}
    gone = [attachment_id for key, attachment_id in due.items() if key not in found]
    with engine.begin() as connection:
        connection.execute(PURGED, {"ids": gone, "kept": kept})
        if errors:
            failed = {
                "ids": [due[key] for key in errors],
                "errors": [error[:500] for error in errors.values()],
            }
            connection.execute(FAILED, failed)
        if len(found) > len(errors):
            connection.execute(GIVE_BACK, {"ids": [due[key] for key, error in found.items() if error == NOT_TRIED]})
    log.info("storage.purged", deleted=len(gone), failed=len(errors), error=next(iter(errors.values()), None))
    return Purged(len(gone), len(errors))


def purge_all_due(engine: Engine, bucket: Bucket) -> None:
    """Rounds until nothing is due, or until the bucket refuses a whole round."""
    while purge(engine, bucket).deleted:
        pass
