"""What a job waits for, how many rows in a row were refused, and what the bucket says of a job's attachments."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE background_jobs
            ADD COLUMN waiting_for text,
            ADD COLUMN refusals integer NOT NULL DEFAULT 0,
            ADD CONSTRAINT background_jobs_refusals_not_negative CHECK (refusals >= 0) NOT VALID
    """)
    op.execute("ALTER TABLE attachment_counts ADD COLUMN error text")
    # A scan of what is still to do, by its own index.
    op.execute("""
        UPDATE attachment_counts c SET error = latest.error
        FROM (SELECT purge_job_id, max(purge_error) AS error FROM attachments
              WHERE purge_requested_at IS NOT NULL AND purged_at IS NULL GROUP BY purge_job_id) latest
        WHERE c.job_id = latest.purge_job_id
    """)
