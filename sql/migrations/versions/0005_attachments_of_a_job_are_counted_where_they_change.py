"""attachment_counts, kept by triggers: the release before keeps it right without knowing of it.

And a form for object keys. Not for rows that are to be purged, which may be older: their updates must not fail.
"""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE attachment_counts (
            job_id bigint PRIMARY KEY,
            deleted bigint NOT NULL,
            kept bigint NOT NULL,
            failed bigint NOT NULL,
            pending bigint NOT NULL
        ) WITH (fillfactor = 50)
    """)
    # Their bodies come with the functions, later in this transaction; nobody else can write until then.
    for name in ("count_attachments", "count_attachment"):
        op.execute(f"""
            CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$
        """)
    op.execute("""
        CREATE TRIGGER count_attachments AFTER UPDATE ON attachments
        REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_attachments()
    """)
    op.execute("""
        CREATE TRIGGER count_attachment_in AFTER INSERT ON attachments
        FOR EACH ROW WHEN (NEW.purge_job_id IS NOT NULL) EXECUTE FUNCTION count_attachment()
    """)
    op.execute("""
        CREATE TRIGGER count_attachment_out AFTER DELETE ON attachments
        FOR EACH ROW WHEN (OLD.purge_job_id IS NOT NULL) EXECUTE FUNCTION count_attachment()
    """)
    op.execute("""
        INSERT INTO attachment_counts (job_id, deleted, kept, failed, pending)
        SELECT purge_job_id, count(*) FILTER (WHERE purged_at IS NOT NULL AND purge_error IS NULL),
               count(*) FILTER (WHERE purged_at IS NOT NULL AND purge_error IS NOT NULL),
               count(*) FILTER (WHERE purged_at IS NULL AND purge_error IS NOT NULL),
               count(*) FILTER (WHERE purged_at IS NULL AND purge_error IS NULL)
        FROM attachments WHERE purge_job_id IS NOT NULL GROUP BY purge_job_id
    """)
    op.execute(r"""
        ALTER TABLE attachments ADD CONSTRAINT attachments_object_key_form CHECK (
            purge_requested_at IS NOT NULL
            OR octet_length(object_key) BETWEEN 1 AND 1024 AND object_key !~ '[[:cntrl:]]|^/|//|\.\.') NOT VALID
    """)
