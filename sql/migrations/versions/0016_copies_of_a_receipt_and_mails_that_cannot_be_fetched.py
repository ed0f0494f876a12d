"""What tells a copy of a receipt from the next one, and how often a mail could not be fetched."""

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE mail_messages
            ADD COLUMN printed_day date,
            ADD COLUMN printed_number text,
            ADD COLUMN fetch_failures smallint NOT NULL DEFAULT 0
    """)
    op.execute("""
        COMMENT ON TABLE mail_messages IS 'Each mail that was seen, and what it was found to be. Nothing of what a mail says is kept here, but of receipts their day and number: most mails are private.';
        COMMENT ON COLUMN mail_messages.printed_day IS 'Of a receipt: the day that it prints. Null where only its mail has one.';
        COMMENT ON COLUMN mail_messages.printed_number IS 'Of a receipt: the number of the invoice or order, where it prints one.';
        COMMENT ON COLUMN mail_messages.fetch_failures IS 'How often the connection broke, or the server refused, while it was fetched. Above 0 it is fetched alone.';
    """)
