"""The database's doors: what other roles could put in the place of what we call, read and write."""

import re
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

HERE = Path(__file__).parent

# Roles that may do anyway what we do: ours, those that it is a member of (which says nothing of a superuser), and
# superusers.
TRUSTED = """
    SELECT r.oid FROM pg_catalog.pg_roles r JOIN pg_catalog.pg_roles us ON us.rolname = current_user
    WHERE r.rolsuper OR r.oid = us.oid OR NOT us.rolsuper AND pg_has_role(us.oid, r.oid, 'USAGE')
"""

# A function or an operator with the name of a built-in one is called instead of it where its arguments match better; so
# is one with the name of ours. Not from this statement: its own arguments are exactly those of the built-in ones.
# Whoever owns the jobs has made a release: see OWNERS.
STRANGERS = text(f"""
    WITH trusted AS ({TRUSTED}), released AS (
        SELECT relowner FROM pg_catalog.pg_class
        WHERE relnamespace = CAST(CAST('public' AS regnamespace) AS oid) AND relname = 'background_jobs'
    ), extension AS (
        SELECT d.classid, d.objid FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
        WHERE d.deptype = 'e' AND e.extowner IN (SELECT oid FROM trusted))
    SELECT 'the function ' || CAST(CAST(f.oid AS regprocedure) AS text) AS what, CAST(owner.rolname AS text) AS who
    FROM pg_catalog.pg_proc f JOIN pg_catalog.pg_roles owner ON owner.oid = f.proowner
    WHERE f.pronamespace = CAST(CAST('public' AS regnamespace) AS oid)
      AND (f.proname = ANY (CAST(:functions AS name[])) AND f.proowner NOT IN (SELECT relowner FROM released)
           OR f.proname IN (SELECT proname FROM pg_catalog.pg_proc
                            WHERE pronamespace = CAST(CAST('pg_catalog' AS regnamespace) AS oid)))
      AND owner.oid NOT IN (SELECT oid FROM trusted)
      AND (CAST(CAST('pg_catalog.pg_proc' AS regclass) AS oid), f.oid) NOT IN (SELECT classid, objid FROM extension)
    UNION ALL
    SELECT 'the operator ' || CAST(CAST(o.oid AS regoperator) AS text), CAST(owner.rolname AS text)
    FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_roles owner ON owner.oid = o.oprowner
    WHERE o.oprnamespace = CAST(CAST('public' AS regnamespace) AS oid)
      AND o.oprname IN (SELECT oprname FROM pg_catalog.pg_operator
                        WHERE oprnamespace = CAST(CAST('pg_catalog' AS regnamespace) AS oid))
      AND owner.oid NOT IN (SELECT oid FROM trusted)
      AND (CAST(CAST('pg_catalog.pg_operator' AS regclass) AS oid), o.oid) NOT IN (SELECT classid, objid FROM extension)
    UNION ALL
    SELECT 'the table ' || CAST(t.relname AS text), CAST(owner.rolname AS text)
    FROM pg_catalog.pg_class t JOIN pg_catalog.pg_roles owner ON owner.oid = t.relowner
    WHERE t.relnamespace = CAST(CAST('public' AS regnamespace) AS oid) AND t.relname = 'longhaul_version'
      AND owner.oid NOT IN (SELECT oid FROM trusted) AND owner.oid NOT IN (SELECT relowner FROM released)
    ORDER BY 1 LIMIT 3
""")  # noqa: S608 - constants

# Whose are our tables and functions? Whoever owns one can replace what it does.
OWNERS = text(f"""
    SELECT CAST(owner.rolname AS text) AS who, count(*) AS n FROM (
        SELECT relowner FROM pg_class c WHERE relkind IN ('r', 'v') AND (
            relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('dramatiq', 'ops'))
            OR relnamespace = CAST(CAST('public' AS regnamespace) AS oid) AND relname = ANY (CAST(:tables AS name[])))
        UNION ALL
        SELECT proowner FROM pg_proc
        WHERE pronamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('dramatiq', 'ops'))
           OR pronamespace = CAST(CAST('public' AS regnamespace) AS oid) AND proname = ANY (CAST(:functions AS name[]))
    ) AS ours (owner) JOIN pg_roles owner ON owner.oid = ours.owner
    WHERE owner.oid NOT IN ({TRUSTED}) GROUP BY 1 ORDER BY 1
""")  # noqa: S608 - constants


def names_of_ours() -> dict[str, list[str]]:
    """Our tables and functions in the schema `public`."""
    functions = "".join(file.read_text() for file in (HERE / "functions").rglob("*.sql"))
    return {
        "functions": sorted(set(re.findall(r"FUNCTION public\.(\w+)", functions))),
        "tables": sorted(re.findall(r"CREATE TABLE public\.(\w+)", (HERE / "schema.sql").read_text())),
    }


def strangers(connection: Connection) -> str | None:
    """A sentence about what another role has put into `public`, to be called or read as ours."""
    told = [
        f"{who} has created {what} in the schema public, which could be used in place of Postgres's own or ours: drop "
        "it, or move it to another schema"
        for what, who in connection.execute(STRANGERS, {"functions": names_of_ours()["functions"]})
    ]
    return "; ".join(told) or None


def owners(connection: Connection) -> str | None:
    """A warning if something of ours belongs to a role that could replace it."""
    told = [
        f"{who} owns {n} of our tables, views and functions, and can replace what they do: release as that role, or a "
        f"superuser can REASSIGN OWNED BY {who} TO this role"
        for who, n in connection.execute(OWNERS, names_of_ours())
    ]
    return "; ".join(told) or None


# Who else may create in a schema of ours, or owns it, besides superusers? The owner of `public` is the database's.
OTHERS = text("""
    SELECT n.nspname AS schema, coalesce(role.rolname, 'PUBLIC') AS who, its.grantee = n.nspowner AS owns
    FROM pg_namespace n CROSS JOIN LATERAL (
        SELECT grantee FROM aclexplode(n.nspacl) WHERE privilege_type = 'CREATE' AND grantee <> n.nspowner
        UNION SELECT n.nspowner WHERE n.nspname <> 'public') AS its
    LEFT JOIN pg_roles role ON role.oid = its.grantee
    WHERE n.nspname IN ('public', 'dramatiq', 'ops')
      AND coalesce(role.rolname <> current_user AND NOT role.rolsuper, true)
    ORDER BY 1, 2
""")


def close_doors(connection: Connection) -> str | None:
    """If we may, stops others from creating functions in our schema, which could be called in place of ours.

    If we may not, the schema's owner has to: returns a sentence that says how. So it does for a schema that somebody
    else had created before us, and could fill with anything.
    """
    savepoint = connection.begin_nested()
    try:
        connection.execute(text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
        savepoint.commit()
    except ProgrammingError:  # the schema is not ours
        savepoint.rollback()
    # Postgres may also have reported that with a mere warning.
    return "; ".join(_told(*row) for row in connection.execute(OTHERS)) or None


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
