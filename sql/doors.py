"""The database's doors: who may create in our schemas what we would call, read or write in place of ours."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, CursorResult, text
from sqlalchemy.exc import ProgrammingError

from sql.engine import SESSION_SETTINGS

OPEN_SECONDS = 60  # for transactions of others to end; our own take no longer

# Who has our rights, or may take them, or may grant them to himself.
MAY_BECOME_US = """
    (pg_has_role({role}.oid, us.oid, 'USAGE, SET') OR EXISTS (
        SELECT FROM pg_catalog.pg_auth_members m WHERE m.roleid = us.oid AND m.member = {role}.oid AND m.admin_option))
"""

# Roles that may do anyway what we do: superusers, we, and who may become us; and a group that we are in, if nobody can
# log in as it and nobody else is in it (a superuser counts as a member of all).
TRUSTED = f"""
    SELECT r.oid FROM pg_catalog.pg_roles r JOIN pg_catalog.pg_roles us ON us.rolname = current_user
    WHERE r.rolsuper OR {MAY_BECOME_US.format(role="r")}
       OR NOT us.rolsuper AND NOT r.rolcanlogin AND pg_has_role(us.oid, r.oid, 'USAGE, SET') AND NOT EXISTS (
           SELECT FROM pg_catalog.pg_roles other WHERE other.oid OPERATOR(pg_catalog.<>) r.oid AND NOT other.rolsuper
           AND pg_has_role(other.oid, r.oid, 'MEMBER') AND NOT {MAY_BECOME_US.format(role="other")})
"""  # noqa: S608 - constants


@contextmanager
def by_the_catalogue(connection: Connection) -> Iterator[None]:
    """Nothing in `public` is called meanwhile."""
    connection.execute(text("SET LOCAL search_path = pg_catalog, pg_temp"))
    yield
    connection.execute(text(f"SET LOCAL search_path = {SESSION_SETTINGS['search_path']}"))


# Those of trusted roles too: a superuser's ANALYZE, and autovacuum, call functions of a table's owner.
OPEN = text("""
    SELECT l.virtualxid AS id,
           format('%s in the session with pid %s', coalesce(CAST(a.usename AS text), 'autovacuum'), a.pid) AS who
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.granted AND a.datname = current_database()
      AND a.pid <> pg_backend_pid()
""")
STILL_OPEN = text("""
    SELECT virtualxid FROM pg_locks WHERE locktype = 'virtualxid' AND mode = 'ExclusiveLock' AND virtualxid = ANY (:ids)
""")
PREPARED = text("""
    SELECT CAST(transaction AS text) AS id, format('%s, prepared as %L', owner, gid) AS who
    FROM pg_prepared_xacts WHERE database = current_database()
""")


def wait_for_others(connection: Connection) -> str | None:
    """Waits for all transactions that began while others could still create in `public`: until such a one ends, nobody
    sees what it made, and in the middle of a statement it may still go by the rights that it had.

    A sentence about who does not end it in time; the schema's comment then still says that a release has to wait.
    """
    deadline = time.monotonic() + OPEN_SECONDS
    with by_the_catalogue(connection):
        opened = _who(connection.execute(OPEN))
        while left := _still_open(connection, opened):
            if time.monotonic() > deadline:
                return (
                    f"found open transactions that may have made something in the schema public ({_first(left)}), "
                    f"expected them to end within {OPEN_SECONDS} s: end them, and release again"
                )
            time.sleep(0.05)
    comment = _comment(connection)
    if comment.endswith(WAITS):
        with _if_we_may(connection):
            _comment_on_public(connection, comment.removesuffix(WAITS))
    return None


def _first(left: dict[str, str]) -> str:
    several = sorted(left.values())
    return "; ".join(several[:5]) + (f"; and {len(several) - 5} more" if len(several) > 5 else "")


def _still_open(connection: Connection, opened: dict[str, str]) -> dict[str, str]:
    still = connection.execute(STILL_OPEN, {"ids": list(opened)}).scalars().all()
    # Asked afterwards: one that is open no more may have become one of these.
    return {one: opened[one] for one in still} | _who(connection.execute(PREPARED))


def _who(rows: CursorResult[Any]) -> dict[str, str]:
    return {row.id: row.who for row in rows}


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
    told = "; ".join(_told(*row) for row in found)
    return f"{told}; then end all transactions that are open, before you release again" if told else None


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
