"""How many log-ins at mail servers may still fail for a business: passwords are not to be guessed through us."""

from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE failed_log_ins (
            business_id bigint PRIMARY KEY REFERENCES businesses,
            allowance double precision NOT NULL,
            at timestamptz NOT NULL
        )
    """)
    op.execute("""
        COMMENT ON TABLE failed_log_ins IS 'How many log-ins at mail servers that somebody waits for may still fail, at a moment.';
        COMMENT ON COLUMN failed_log_ins.business_id IS 'Whose log-ins';
        COMMENT ON COLUMN failed_log_ins.allowance IS 'How many are left';
        COMMENT ON COLUMN failed_log_ins.at IS 'The moment of that count';
    """)
