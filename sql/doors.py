"""The database's doors: who may create in our schemas what we would call, read or write in place of ours."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from sql.engine import SESSION_SETTINGS

OPEN_SECONDS = 60  # for transactions of others to end; our own take no longer

# Roles that may do anyway what we do: superusers, ours and its members; and a role that ours is a member of if nobody
# else is (a superuser counts as a member of all).
TRUSTED = """
    SELECT r.oid FROM pg_catalog.pg_roles r JOIN pg_catalog.pg_roles us ON us.rolname = current_user
    WHERE r.rolsuper OR pg_has_role(r.oid, us.oid, 'MEMBER')
       OR NOT us.rolsuper AND pg_has_role(us.oid, r.oid, 'MEMBER') AND NOT EXISTS (
           SELECT FROM pg_catalog.pg_roles other WHERE other.oid OPERATOR(pg_catalog.<>) r.oid AND NOT other.rolsuper
           AND pg_has_role(other.oid, r.oid, 'MEMBER') AND NOT pg_has_role(other.oid, us.oid, 'MEMBER'))
"""


@contextmanager
def by_the_catalogue(connection: Connection) -> Iterator[None]:
    """Nothing in `public` is called meanwhile."""
    connection.execute(text("SET LOCAL search_path = pg_catalog, pg_temp"))
    yield
    connection.execute(text(f"SET LOCAL search_path = {SESSION_SETTINGS['search_path']}"))


# The transactions of roles that are not trusted. One that is in the middle of a statement, or is prepared, may still go
# by the rights that it had.
OPEN = text(f"""
    SELECT l.virtualxid AS id, CAST(role.rolname AS text) AS who
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid JOIN pg_roles role ON role.oid = a.usesysid
    WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.granted AND a.datname = current_database()
      AND role.oid NOT IN ({TRUSTED})
    UNION
    SELECT CAST(p.transaction AS text), CAST(p.owner AS text)
    FROM pg_prepared_xacts p JOIN pg_roles role ON role.rolname = p.owner
    WHERE p.database = current_database() AND role.oid NOT IN ({TRUSTED})
""")  # noqa: S608 - constants
STILL_OPEN = text("""
    SELECT coalesce(virtualxid, CAST(transactionid AS text)) FROM pg_locks
    WHERE locktype IN ('virtualxid', 'transactionid') AND coalesce(virtualxid, CAST(transactionid AS text)) = ANY (:ids)
""")


def wait_for_others(connection: Connection) -> str | None:
    """Waits for what others began while they could still create in `public`: until it ends, nobody sees what it made.

    A sentence about who does not end it in time; the schema's comment then still says that a release has to wait.
    """
    deadline = time.monotonic() + OPEN_SECONDS
    with by_the_catalogue(connection):
        opened = {row.id: row.who for row in connection.execute(OPEN)}
        while opened and time.monotonic() < deadline:
            time.sleep(0.05)
            still = connection.execute(STILL_OPEN, {"ids": list(opened)}).scalars().all()
            opened = {number: opened[number] for number in still}
    told = [
        f"{who} has a transaction open, which may have made something in the schema public: end it, and release again"
        for who in sorted(set(opened.values()))
    ]
    if not told:
        with _if_we_may(connection):
            _comment_on_public(connection, _comment(connection).removesuffix(WAITS))
    return "; ".join(told) or None


ALL_MAY_CREATE = text("""
    SELECT EXISTS (SELECT FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) its
                   WHERE n.nspname = 'public' AND its.grantee = 0 AND its.privilege_type = 'CREATE')
""")
COMMENT = text("SELECT coalesce(obj_description(CAST(to_regnamespace('public') AS oid), 'pg_namespace'), '')")
# At the end of the schema's comment, because it must outlive a release that is killed.
WAITS = " (closed by a release that has not yet waited for the transactions of others)"


def close_public(connection: Connection) -> bool:
    """If we may, stops others from creating functions in our schema, which could be called in place of ours.

    True: it is closed, but what others had begun before may not have ended; `wait_for_others`.
    """
    comment = _comment(connection)
    if not _all_may_create(connection):
        return comment.endswith(WAITS)
    is_closed = False
    with _if_we_may(connection):
        connection.execute(text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))  # may refuse with a mere warning
        if not _all_may_create(connection):
            _comment_on_public(connection, comment.removesuffix(WAITS) + WAITS)
            is_closed = True
    return is_closed


@contextmanager
def _if_we_may(connection: Connection) -> Iterator[None]:
    """Undone if the schema is not ours."""
    savepoint = connection.begin_nested()
    try:
        yield
        savepoint.commit()
    except ProgrammingError:
        savepoint.rollback()


def _all_may_create(connection: Connection) -> bool:
    with by_the_catalogue(connection):
        return bool(connection.execute(ALL_MAY_CREATE).scalar_one())


def _comment(connection: Connection) -> str:
    with by_the_catalogue(connection):
        return str(connection.execute(COMMENT).scalar_one())


def _comment_on_public(connection: Connection, comment: str) -> None:
    connection.execute(text("COMMENT ON SCHEMA public IS :comment"), {"comment": comment})


# Who else may create in a schema of ours, or owns it? The owner of `public` is usually the database's.
OTHERS = text(f"""
    SELECT CAST(n.nspname AS text) AS schema, coalesce(CAST(role.rolname AS text), 'PUBLIC') AS who, its.owns
    FROM pg_namespace n CROSS JOIN LATERAL (
        SELECT grantee, false AS owns FROM aclexplode(n.nspacl)
        WHERE privilege_type = 'CREATE' AND grantee <> n.nspowner
        UNION SELECT CASE WHEN owner.rolname = 'pg_database_owner' THEN d.datdba ELSE owner.oid END, true
        FROM pg_roles owner JOIN pg_database d ON d.datname = current_database() WHERE owner.oid = n.nspowner) AS its
    LEFT JOIN pg_roles role ON role.oid = its.grantee
    WHERE n.nspname IN ('public', 'dramatiq', 'ops') AND its.grantee NOT IN ({TRUSTED})
    ORDER BY 1, 2
""")  # noqa: S608 - constants


def open_doors(connection: Connection) -> str | None:
    """A sentence about whoever may create in a schema of ours, or owns it and could fill it with anything, and what its
    owner, or a superuser, can do about it.
    """
    with by_the_catalogue(connection):
        found = connection.execute(OTHERS).all()
    return "; ".join(_told(*row) for row in found) or None


def _told(schema: str, who: str, owns: bool) -> str:
    if owns:
        return (
            f"{who} owns the schema {schema} and can replace what is in it; a superuser can ALTER SCHEMA {schema} "
            "OWNER TO this role"
        )
    return (
        f"{who} may create functions in the schema {schema}, which could be called in place of ours; its owner can "
        f"REVOKE CREATE ON SCHEMA {schema} FROM {who}"
    )
