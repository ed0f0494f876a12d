"""The database's doors: what other roles could put in the place of a function that we call."""

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

# A function or an operator with the name of a built-in one is called instead of it where its arguments match better.
# Not from this statement: its own arguments are exactly those of the built-in ones.
STRANGERS = text("""
    WITH trusted AS (SELECT oid FROM pg_catalog.pg_roles WHERE rolsuper OR rolname = current_user),
    extension AS (SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype = 'e')
    SELECT 'the function ' || CAST(CAST(f.oid AS regprocedure) AS text) AS what, CAST(owner.rolname AS text) AS who
    FROM pg_catalog.pg_proc f JOIN pg_catalog.pg_roles owner ON owner.oid = f.proowner
    WHERE f.pronamespace = CAST(CAST('public' AS regnamespace) AS oid)
      AND f.proname IN (SELECT proname FROM pg_catalog.pg_proc
                        WHERE pronamespace = CAST(CAST('pg_catalog' AS regnamespace) AS oid))
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
    ORDER BY 1 LIMIT 3
""")


def strangers(connection: Connection) -> str | None:
    """A sentence about functions and operators that another role has put beside ours, to be called as ours."""
    told = [
        f"{who} has created {what} in the schema public, which could be called in place of Postgres's own: drop it, or "
        "move it to another schema"
        for what, who in connection.execute(STRANGERS)
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
