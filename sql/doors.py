"""The database's doors: what other roles could put in the place of what we call, read and write."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from sql.engine import SESSION_SETTINGS

HERE = Path(__file__).parent
OPEN_SECONDS = 60  # for transactions of others to end; our own take no longer

CATALOGUE = "CAST('pg_catalog' AS regnamespace)"

# Roles that may do anyway what we do: superusers, ours and its members; and a role that ours is a member of if nobody
# else is (a superuser counts as a member of all).
TRUSTED = """
    SELECT r.oid FROM pg_catalog.pg_roles r JOIN pg_catalog.pg_roles us ON us.rolname = current_user
    WHERE r.rolsuper OR pg_has_role(r.oid, us.oid, 'MEMBER')
       OR NOT us.rolsuper AND pg_has_role(us.oid, r.oid, 'MEMBER') AND NOT EXISTS (
           SELECT FROM pg_catalog.pg_roles other WHERE other.oid OPERATOR(pg_catalog.<>) r.oid AND NOT other.rolsuper
           AND pg_has_role(other.oid, r.oid, 'MEMBER') AND NOT pg_has_role(other.oid, us.oid, 'MEMBER'))
"""

# What others have made that would be used as ours: whatever has the name of something of ours, and functions and
# operators in `public` with names of Postgres's own, which are called instead if their arguments match better.
STRANGERS = text(f"""
    WITH made AS (
        SELECT format('the function %s', CAST(oid AS regprocedure)) AS what, pronamespace AS schema, proname AS name,
               proowner AS owner, CAST('pg_proc' AS regclass) AS catalogue, oid,
               proname IN (SELECT proname FROM pg_proc WHERE pronamespace = {CATALOGUE}) AS is_built_in
        FROM pg_proc
        UNION ALL
        SELECT format('the operator %s', CAST(oid AS regoperator)), oprnamespace, oprname, oprowner,
               CAST('pg_operator' AS regclass), oid,
               oprname IN (SELECT oprname FROM pg_operator WHERE oprnamespace = {CATALOGUE})
        FROM pg_operator
        UNION ALL
        SELECT format('the %s %s', CASE relkind WHEN 'r' THEN 'table' ELSE 'view' END, CAST(oid AS regclass)),
               relnamespace, relname, relowner, CAST('pg_class' AS regclass), oid, false
        FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
        UNION ALL
        SELECT format('the type %s', CAST(oid AS regtype)), typnamespace, typname, typowner,
               CAST('pg_type' AS regclass), oid, false
        FROM pg_type WHERE typtype IN ('d', 'e', 'r')
    )
    SELECT CAST(role.rolname AS text) AS who, ours.name IS NOT NULL AS is_ours, count(*) AS n,
           (array_agg(what ORDER BY what))[1] AS what
    FROM made JOIN pg_namespace n ON n.oid = made.schema JOIN pg_roles role ON role.oid = made.owner
    LEFT JOIN unnest(CAST(:schemas AS text[]), CAST(:names AS text[])) AS ours (schema, name)
        ON ours.schema = n.nspname AND ours.name = made.name
    WHERE made.owner NOT IN ({TRUSTED}) AND (
        ours.name IS NOT NULL OR n.nspname = 'public' AND made.is_built_in AND NOT EXISTS (
            SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
            WHERE d.deptype = 'e' AND d.classid = made.catalogue AND d.objid = made.oid AND e.extowner IN ({TRUSTED})))
    GROUP BY 1, 2 ORDER BY 1, 2
""")  # noqa: S608 - constants


def names_of_ours() -> set[tuple[str, str]]:
    """Our tables, views, types and functions: schema and name."""
    files = [HERE / "schema.sql", *(HERE / "functions").rglob("*.sql"), *(HERE / "ops").glob("*.sql")]
    pattern = re.compile(r"^CREATE (?:OR REPLACE )?(?:TABLE|VIEW|TYPE|FUNCTION) (\w+)\.(\w+)", re.MULTILINE)
    return {(found[1], found[2]) for file in files for found in pattern.finditer(file.read_text())}


def strangers(connection: Connection) -> str | None:
    """A sentence about what another role has made that would be called, read or changed as ours."""
    ours = sorted(names_of_ours())
    asked = {"schemas": [schema for schema, _ in ours], "names": [name for _, name in ours]}
    with _by_the_catalogue(connection):
        found = connection.execute(STRANGERS, asked).all()
    return "; ".join(_of_another(*row) for row in found) or None


def _of_another(who: str, is_ours: bool, number: int, what: str) -> str:
    which = what if number == 1 else f"{what} and {number - 1} more"
    if not is_ours:
        return (
            f"{who} has created {which}, with names of Postgres's own, which could be called in place of them: drop "
            "them, or move them to another schema"
        )
    return (
        f"{who} owns {which}, with names of ours, and decides what they do: drop them; or, if that role has made the "
        f"releases so far, release as that role, or let a superuser REASSIGN OWNED BY {who} TO this role"
    )


@contextmanager
def _by_the_catalogue(connection: Connection) -> Iterator[None]:
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

    A sentence about who does not end it in time.
    """
    deadline = time.monotonic() + OPEN_SECONDS
    with _by_the_catalogue(connection):
        opened = {row.id: row.who for row in connection.execute(OPEN)}
        while opened and time.monotonic() < deadline:
            time.sleep(0.05)
            still = connection.execute(STILL_OPEN, {"ids": list(opened)}).scalars().all()
            opened = {number: opened[number] for number in still}
    told = [
        f"{who} has a transaction open, which may have made something in the schema public: end it, and release again"
        for who in sorted(set(opened.values()))
    ]
    return "; ".join(told) or None


MAY_CREATE = text("""
    SELECT EXISTS (SELECT FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) its
                   WHERE n.nspname = 'public' AND its.grantee = 0 AND its.privilege_type = 'CREATE')
""")


def close_public(connection: Connection) -> bool:
    """If we may, stops others from creating functions in our schema, which could be called in place of ours. Did it?"""
    with _by_the_catalogue(connection):
        was_open = connection.execute(MAY_CREATE).scalar_one()
    savepoint = connection.begin_nested()
    try:
        connection.execute(text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
        savepoint.commit()
    except ProgrammingError:  # the schema is not ours
        savepoint.rollback()
    with _by_the_catalogue(connection):  # Postgres may have refused with a mere warning
        return bool(was_open and not connection.execute(MAY_CREATE).scalar_one())


def reopen_public(connection: Connection) -> None:
    """As it was: the next release has to close it again, and to wait again."""
    connection.execute(text("GRANT CREATE ON SCHEMA public TO PUBLIC"))


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


def close_doors(connection: Connection) -> str | None:
    """Closes `public`, if we may. A sentence about whoever may still create in a schema of ours, or owns it and could
    fill it with anything, and what its owner, or a superuser, can do about it.
    """
    close_public(connection)
    with _by_the_catalogue(connection):
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
