"""claim_job() is told the batch size too, for the event. Its form without, which the new one covers, goes."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("DROP FUNCTION IF EXISTS claim_job(bigint, integer)")
