"""connection_events: no UPDATE, and no DELETE but with the connection."""

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.execute("""
        CREATE FUNCTION public.keep_connection_event() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$
    """)
    op.execute("""
        CREATE TRIGGER keep_connection_event BEFORE UPDATE OR DELETE ON connection_events FOR EACH ROW
        EXECUTE FUNCTION public.keep_connection_event()
    """)
    op.execute("""
        ALTER TABLE connection_events DROP CONSTRAINT connection_events_connection_id_fkey,
        ADD CONSTRAINT connection_events_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES connections
        ON DELETE CASCADE
    """)
