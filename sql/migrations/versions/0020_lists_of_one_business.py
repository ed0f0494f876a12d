"""The lists of a business's jobs and mails read its own rows only, whatever others have."""

from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.execute("CREATE INDEX idx_background_jobs_business ON background_jobs (business_id, id)")
    op.execute("CREATE INDEX idx_mail_messages_business ON mail_messages (business_id, id)")
    op.execute("""
        COMMENT ON INDEX idx_background_jobs_business IS 'Which jobs has this business, newest first?';
        COMMENT ON INDEX idx_mail_messages_business IS 'Which mails of this business were seen, newest first, and how many?';
    """)
