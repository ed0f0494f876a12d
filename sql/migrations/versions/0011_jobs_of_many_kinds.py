"""What jobs of many kinds need: a key, a time to wait until, stale limits of their own, and starts that are made once."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE background_jobs
            ADD COLUMN key text NOT NULL DEFAULT '',
            ADD COLUMN wait_until timestamptz,
            ADD COLUMN waits_since timestamptz,
            ADD COLUMN stale_after interval,
            ADD COLUMN unchanged_after interval,
            ADD COLUMN error_code text,
            ADD CONSTRAINT background_jobs_key_length CHECK (char_length(key) <= 200),
            ADD CONSTRAINT background_jobs_waits_only_while_queued CHECK (wait_until IS NULL OR status = 'queued')
    """)
    op.execute("DROP INDEX idx_background_jobs_unique_active")
    op.execute("""
        CREATE UNIQUE INDEX idx_background_jobs_unique_active ON background_jobs (business_id, job_type, key)
            WHERE status IN ('queued', 'running', 'paused')
    """)
    # Their new forms take the old arguments too, and the functions are made anew after the migrations.
    op.execute("DROP FUNCTION IF EXISTS public.start_job(bigint, text, text, jsonb, bigint, bigint, text)")
    op.execute("DROP FUNCTION IF EXISTS public.claim_job(bigint, integer, integer)")
    op.execute("DROP FUNCTION IF EXISTS public.leave_running(bigint, integer, text, text, text, text)")
    op.execute("""
        CREATE TABLE idempotency_keys (
            business_id bigint NOT NULL REFERENCES businesses,
            token_id bigint NOT NULL,
            address text NOT NULL,
            key text NOT NULL,
            request_sha256 bytea NOT NULL,
            answer jsonb,
            created_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (business_id, token_id, address, key)
        )
    """)
    op.execute("CREATE INDEX idx_idempotency_keys_created_at ON idempotency_keys (created_at)")
    op.execute("ALTER TABLE receipts ADD COLUMN deleted_by_job_id bigint")
    op.execute("""
        CREATE INDEX idx_receipts_deleted_by_job ON receipts (deleted_by_job_id, id)
            WHERE is_deleted AND deleted_by_job_id IS NOT NULL
    """)
    op.execute("ALTER TABLE attachments ALTER COLUMN receipt_id DROP NOT NULL")
    op.execute("""
        ALTER TABLE attachments ADD CONSTRAINT attachments_of_a_receipt_or_to_be_purged
            CHECK (receipt_id IS NOT NULL OR purge_requested_at IS NOT NULL) NOT VALID
    """)
