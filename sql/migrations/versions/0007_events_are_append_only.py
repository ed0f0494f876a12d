"""job_events: no UPDATE, and no DELETE but with the job."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute("""
        CREATE FUNCTION public.keep_event() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$
    """)
    op.execute("""
        CREATE TRIGGER keep_event BEFORE UPDATE OR DELETE ON job_events FOR EACH ROW
        EXECUTE FUNCTION public.keep_event()
    """)
