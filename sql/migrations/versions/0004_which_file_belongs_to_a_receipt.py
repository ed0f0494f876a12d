"""attachments.sha256: the file of the line that made the receipt, so that no other is uploaded in its place."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE attachments
            ADD COLUMN sha256 bytea,
            ADD CONSTRAINT attachments_sha256_length CHECK (octet_length(sha256) = 32) NOT VALID
    """)
    op.execute("ALTER TABLE attachments VALIDATE CONSTRAINT attachments_sha256_length")
