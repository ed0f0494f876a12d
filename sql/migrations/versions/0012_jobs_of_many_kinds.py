"""What jobs of many kinds need: a key, a time to wait until, stale limits of their own, and starts that are made once."""

from alembic import op

revision = "0012"
down_revision = "0011"


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
    op.execute("""
        COMMENT ON COLUMN background_jobs.key IS
            'One job of a type may be active for each key of a business; empty: one in all';
        COMMENT ON COLUMN background_jobs.wait_until IS 'A queued job goes on then, and not before unless it is resumed';
        COMMENT ON COLUMN background_jobs.waits_since IS 'Since when it has only waited, without progress between';
        COMMENT ON COLUMN background_jobs.stale_after IS
            'Without a heartbeat for so long it fails; noted at the claim. Null: the general setting';
        COMMENT ON COLUMN background_jobs.unchanged_after IS
            'Without a change for so long it fails; noted at the claim. Null: the general setting';
        COMMENT ON COLUMN background_jobs.error_code IS 'Why it failed, for programs; where its kind knows';
        COMMENT ON INDEX idx_background_jobs_unique_active IS
            'One active job per business, type and key: the second of two starts at once meets this.';
        COMMENT ON INDEX idx_receipts_deleted_by_job IS 'Which receipts has this job deleted?';
        COMMENT ON INDEX idx_idempotency_keys_created_at IS 'Which are older than a day?';
        COMMENT ON TABLE idempotency_keys IS 'Starts that took place, with their answers, for a day';
        COMMENT ON COLUMN receipts.deleted_by_job_id IS 'The job that restore_receipts can undo';
        COMMENT ON COLUMN attachments.receipt_id IS 'Null: a file of a job, to be purged from the start'
    """)
