"""idx_attachments_purge_job served the count that attachment_counts has taken over. The release before counts without it,
more slowly, for as long as a deploy takes.
"""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute("DROP INDEX IF EXISTS idx_attachments_purge_job")
