"""What other roles have made that would be called, read or written in place of ours."""

import re
from pathlib import Path

from sqlalchemy import Connection, text

from sql.doors import TRUSTED, by_the_catalogue

HERE = Path(__file__).parent

CATALOGUE = "CAST('pg_catalog' AS regnamespace)"

# Whatever has the name of something of ours, and in `public` functions and operators with names of Postgres's own,
# which are called instead if their arguments match better.
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
    with by_the_catalogue(connection):
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
