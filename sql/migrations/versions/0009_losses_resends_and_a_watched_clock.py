"""Lost messages are counted, and so are re-sent ones; workers name their kinds; the clock is watched.

Columns only, with defaults that the release before can live with. A function whose arguments or columns change is
dropped here, and made anew with the others.
"""

from alembic import op

revision = "0009"
down_revision = "0008"

CHANGES = """
ALTER TABLE dramatiq.queue ADD COLUMN losses integer DEFAULT 0 NOT NULL, ADD COLUMN reason text;

CREATE INDEX queue_lost_idx ON dramatiq.queue (seq) WHERE state = 'queued' AND losses > 0;

ALTER TABLE workers ADD COLUMN kinds text[];

ALTER TABLE background_jobs ADD COLUMN resends integer DEFAULT 0 NOT NULL, ADD COLUMN resent_at timestamptz;

CREATE TABLE watched_clock (
    one BOOLEAN DEFAULT true NOT NULL,
    seen_at timestamptz,
    gap_from timestamptz,
    gap_to timestamptz,
    CONSTRAINT watched_clock_pkey PRIMARY KEY (one),
    CONSTRAINT watched_clock_one_row CHECK (one)
) WITH (fillfactor = 20);

INSERT INTO watched_clock DEFAULT VALUES;

DROP FUNCTION IF EXISTS claim_messages(integer, text[], integer[], bigint[], integer);
DROP FUNCTION IF EXISTS recover_jobs(bigint);
DROP FUNCTION IF EXISTS fail_stale_jobs(text, integer, integer, bigint);
"""


def upgrade() -> None:
    op.execute(CHANGES)
