"""Jobs change their status by our functions only; a job's rate and the last sweep are noted; the other comments.

The release before knows no function for retention: until it is gone, its deletes of old jobs are refused, and done by
this one's.
"""

from alembic import op

revision = "0013"
down_revision = "0012"

CHANGES = """
ALTER TABLE background_jobs
    ADD COLUMN rate_from_at timestamptz, ADD COLUMN rate_from bigint,
    ADD COLUMN rate_next_at timestamptz, ADD COLUMN rate_next bigint;

ALTER TABLE watched_clock ADD COLUMN swept_at timestamptz;

-- Its body comes with the functions, later in this transaction.
CREATE FUNCTION guard_job() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;

-- A checkpoint does not name the column, so it does not even ask.
CREATE TRIGGER guard_status BEFORE UPDATE OF status ON background_jobs
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION guard_job();
CREATE TRIGGER guard_delete BEFORE DELETE ON background_jobs FOR EACH ROW EXECUTE FUNCTION guard_job();
"""

TABLES = {
    "api_tokens": "Who may call the API. Of a token only the hash is kept; python -m service token makes one",
    "businesses": "Whose receipts these are; every job belongs to one",
    "longhaul_version": "The last migration",
    "receipts": "Deletion is soft: is_deleted and deleted_at",
}

COLUMNS = {
    "background_jobs": {
        "id": "Of a job, in every address and command",
        "business_id": "Whose job it is",
        "job_type": "The kind: a file in actors/",
        "status": "queued, running, paused, completed, cancelled or failed: sql/states.py. Changed by functions only",
        "requested": "What somebody asked of a running job: pause or cancel, obeyed at the end of a batch",
        "total": "How many items there are to do; null while that is unknown",
        "processed": "Items that were done or refused",
        "succeeded": "Items that were done",
        "failed_count": "Items that were refused",
        "cursor": "Where the job goes on, saved with each batch",
        "params": "What it was started with, as its kind declares",
        "stats": "What its kind counts beside the items",
        "recoveries": "How many workers died with it in a row, without a batch between",
        "worker_id": "Who has it, while running",
        "queue": "Where its message waits",
        "actor": "The Dramatiq actor that its message calls",
        "message_id": "The message that will start it, or has",
        "requested_by_user_id": "Who started it",
        "created_at": "When it was started",
        "updated_at": "The last batch, change of status, or wait that said what it waits for",
        "started_at": "The first claim",
        "finished_at": "Set exactly for completed, cancelled and failed",
        "heartbeat_at": "The last sign of life of its run",
        "resent_at": "When its message was sent again",
        "rate_from_at": "Since when its rate is measured: up to a minute ago, or the claim",
        "rate_from": "How many were processed then",
        "rate_next_at": "Since when it will be measured next",
        "rate_next": "How many were processed then",
    },
    "dramatiq.queue": {
        "message_id": "Of Dramatiq's message",
        "queue_name": "Delayed messages wait under the name and .DQ",
        "state": "queued: waits; consumed: a worker has it; done; rejected: reason says why",
        "mtime": "The last change of state",
        "message": "As Dramatiq writes it. That of a job carries only the id of the job",
        "result": "Not used by us",
        "result_ttl": "Not used by us",
    },
    "api_tokens": {
        "token_sha256": "All that is kept of the token itself",
        "business_id": "Null: an operator's, for all businesses",
        "user_id": "Who is named in the events",
        "role": "owner, admin, member or operator",
        "created_at": "When it was made",
        "last_used_at": "To the minute",
        "revoked_at": "From then on it is refused",
        "id": "As in the token itself, lh_<id>_…",
        "name": "What it is for",
        "expires_at": "From then on it is refused; null: never",
        "issued_by": "Who made it, at which machine",
    },
    "attachment_counts": {
        "job_id": "The job that asked for it",
        "deleted": "Gone from the bucket",
        "pending": "Not tried yet, or without an error so far",
    },
    "attachments": {
        "id": "Part of the object's key",
        "business_id": "Whose file it is",
        "object_key": "Where it is in the bucket; never used for another",
        "content_type": "As its first bytes say",
        "purge_requested_at": "Since when the object has to go",
        "purge_attempts": "How often that was tried",
        "purged_at": "When it was gone",
        "purge_error": "What the bucket said last",
    },
    "businesses": {"id": "Of a business", "name": "As it is called", "created_at": "When it was made"},
    "idempotency_keys": {
        "business_id": "Whose start it was",
        "token_id": "The token that started",
        "address": "The address that was called",
        "key": "As the caller chose it",
        "request_sha256": "Another request with this key is refused",
        "answer": "What is answered again",
        "created_at": "Cleared away after a day",
    },
    "job_events": {
        "id": "In the order of the events",
        "job_id": "The job it happened to",
        "at": "When",
        "event": "What: claimed, paused, recovered, row_failed, …",
        "from_status": "The status before; null for created",
        "to_status": "The status after",
        "reason": "Why, in the words of whoever did it",
        "attempt": "The number of the claim",
        "worker_id": "Who had the job",
        "detail": "Further facts; token_id is the API token that asked",
    },
    "longhaul_version": {"version_num": "The last migration"},
    "receipts": {
        "id": "The keyset of every job",
        "business_id": "Whose receipt it is",
        "vendor": "Who was paid",
        "amount": "In the currency's units",
        "currency": "ISO 4217",
        "received_at": "The day of the receipt",
        "source": "manual, import or a kind of sync",
        "source_id": "Its id there: it is taken in once",
        "created_at": "When it came here",
        "is_deleted": "Deletion is soft",
        "deleted_at": "Set exactly when it is deleted",
    },
    "token_changes": {
        "token_id": "Whose changes",
        "allowance": "How many are left",
        "at": "The moment of that count",
    },
    "watched_clock": {
        "one": "There is one row",
        "seen_at": "The last look at the clock",
        "gap_from": "The last gap between two looks: its beginning",
        "gap_to": "… and its end",
        "swept_at": "The end of the last sweep, by whichever worker",
    },
    "workers": {
        "hostname": "Where it runs",
        "pid": "Its process there",
        "queues": "What it really listens to",
        "release": "As RELEASE says",
        "started_at": "Its boot",
        "stopped_at": "When it signed off; one that died never does",
    },
}


def upgrade() -> None:
    op.execute(CHANGES)
    for table, comment in TABLES.items():
        op.execute(f"COMMENT ON TABLE {table} IS {_quoted(comment)}")
    for table, columns in COLUMNS.items():
        for column, comment in columns.items():
            op.execute(f"COMMENT ON COLUMN {table}.{column} IS {_quoted(comment)}")


def _quoted(comment: str) -> str:
    return "'" + comment.replace("'", "''").replace(":", "\\:") + "'"
