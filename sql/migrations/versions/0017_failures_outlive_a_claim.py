"""A job that the world outside fails gives its thread away between two tries; how many failed is in its row."""

from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.execute("ALTER TABLE background_jobs ADD COLUMN failures integer NOT NULL DEFAULT 0")
    op.execute(
        "COMMENT ON COLUMN background_jobs.failures IS "
        "'Tries in a row that the world outside has failed, when it left its last claim'"
    )
    # Both take one argument more now, at the end and with a default.
    op.execute("DROP FUNCTION IF EXISTS public.claim_job(bigint, integer, integer, interval, interval, text[])")
    op.execute("DROP FUNCTION IF EXISTS public.leave_running(bigint, integer, text, text, text, text, interval, text)")
    # The view stands on another function now.
    op.execute("DROP VIEW IF EXISTS ops.stuck_jobs")
    op.execute("DROP FUNCTION IF EXISTS ops.why_active(integer)")
