"""The list phase of a sync: the mails of a window as rows, under the numbers that they have now."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, text

from actors.mail.mailbox import Listed

# When the server has numbered the folder anew, a mail that is known gets its new number and keeps what was decided.
RENUMBER = text("""
    WITH listed AS (
        SELECT uid, message_hash, row_number() OVER (PARTITION BY message_hash ORDER BY uid) AS n
        FROM unnest(CAST(:uids AS bigint[]), CAST(:hashes AS bytea[])) AS given (uid, message_hash)
        WHERE NOT EXISTS (SELECT FROM mail_messages m WHERE m.connection_id = :connection_id
                          AND m.uidvalidity = :uidvalidity AND m.uid = given.uid)
    ), known AS (
        SELECT id, message_hash, n FROM (
            SELECT id, message_hash, row_number() OVER (PARTITION BY message_hash ORDER BY id) AS n
            FROM mail_messages
            WHERE connection_id = :connection_id AND business_id = :business_id AND uidvalidity <> :uidvalidity
              AND message_hash = ANY (CAST(:hashes AS bytea[]))
        ) AS numbered
        -- However many have the same hash, no more are needed.
        WHERE n <= pg_catalog.cardinality(CAST(:uids AS bigint[]))
    )
    UPDATE mail_messages m SET uidvalidity = :uidvalidity, uid = listed.uid
    FROM known JOIN listed USING (message_hash, n) WHERE m.id = known.id
""")
INSERT = text("""
    INSERT INTO mail_messages (connection_id, business_id, uidvalidity, uid, message_hash, received_at, size, job_id)
    SELECT :connection_id, :business_id, :uidvalidity, uid, message_hash, received_at, size, :job_id
    FROM unnest(CAST(:uids AS bigint[]), CAST(:hashes AS bytea[]), CAST(:moments AS timestamptz[]),
                CAST(:sizes AS bigint[])) AS listed (uid, message_hash, received_at, size)
    ORDER BY uid
    ON CONFLICT ON CONSTRAINT uq_mail_messages_uid DO UPDATE SET job_id = EXCLUDED.job_id
        WHERE mail_messages.state = 'pending'
""")
TRY_AGAIN = text("""
    UPDATE mail_messages SET state = 'pending', reason = NULL, rule = NULL, decided_at = NULL, fetch_failures = 0,
        job_id = :job_id
    WHERE connection_id = :connection_id AND business_id = :business_id AND uidvalidity = :uidvalidity
      AND uid = ANY (CAST(:uids AS bigint[])) AND state = 'unreadable' AND job_id IS DISTINCT FROM :job_id
""")
# What an earlier job has left is read too.
TAKE_ALL = text("""
    UPDATE mail_messages SET job_id = :job_id
    WHERE connection_id = :connection_id AND business_id = :business_id AND state = 'pending'
      AND job_id IS DISTINCT FROM :job_id
""")
LEFT = text("""
    SELECT count(*) FROM mail_messages
    WHERE connection_id = :connection_id AND business_id = :business_id AND state = 'pending' AND job_id = :job_id
""")
KEEP_POSITION = text("""
    UPDATE connections SET uidvalidity = :uidvalidity, last_uid = :last_uid
    WHERE id = :connection_id AND business_id = :business_id
""")


def note_page(connection: Connection, page: Sequence[Listed], scope: dict[str, Any], *, again: bool) -> None:
    """`again`: mails that could not be read are to be tried once more."""
    if not page:
        return
    values = {
        **scope,
        "uids": [one.uid for one in page],
        "hashes": [one.message_hash for one in page],
        "moments": [one.received_at for one in page],
        "sizes": [one.size for one in page],
    }
    connection.execute(RENUMBER, values)
    connection.execute(INSERT, values)
    if again:
        connection.execute(TRY_AGAIN, values)


def end_list(connection: Connection, scope: dict[str, Any], *, last_uid: int | None) -> int:
    """How many mails this job is to read. `last_uid`: the next sync begins above it; None where days bound the list."""
    if last_uid is not None:
        connection.execute(TAKE_ALL, scope)
        connection.execute(KEEP_POSITION, {**scope, "last_uid": last_uid})
    left: int = connection.execute(LEFT, scope).scalar_one()
    return left
