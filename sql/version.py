"""The migration that a database is at: a number in our own table.

Another project may have its `alembic_version` in this database. Ours had that name too, and is kept in step as long as
the release that reads it may still be running.
"""

from pathlib import Path

from sqlalchemy import Connection, text

from sql.doors import TRUSTED, by_the_catalogue

TABLE = "longhaul_version"
FORMER = "alembic_version"

MIGRATIONS = Path(__file__).parent / "migrations"
OURS = ("businesses", "workers", "receipts", "background_jobs", "attachments", "job_events")  # since the first one


MISSING = text("""
    SELECT count(*) FROM pg_catalog.unnest(CAST(:names AS text[])) name WHERE to_regclass('public.' || name) IS NULL
""")


def schema_version(connection: Connection) -> str | None:
    """The migration that the database is at; None if it was never released to."""
    return _read(connection, TABLE)


IS_THERE = text(f"""
    SELECT EXISTS (
        SELECT FROM pg_class WHERE oid = CAST(to_regclass('public.{TABLE}') AS oid) AND relowner IN ({TRUSTED}))
""")  # noqa: S608 - constants


def was_released_to(connection: Connection) -> bool:
    """Has anybody whom we trust made our version table?"""
    with by_the_catalogue(connection):
        return bool(connection.execute(IS_THERE).scalar_one())


def expected_version() -> str:
    """This release's latest migration."""
    return max(known_versions())


def known_versions() -> set[str]:
    """Files are named by their number."""
    return {file.name.partition("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*.py")}


def is_at_least(found: str | None, expected: str) -> bool:
    return found is not None and found.isdecimal() and int(found) >= int(expected)


def take_over(connection: Connection) -> None:
    """Before the migrations: if our version is still in the table with the former name, copies it from there."""
    if _read(connection, TABLE) is not None:
        return
    version = _read(connection, FORMER)
    if version in known_versions() and connection.execute(MISSING, {"names": list(OURS)}).scalar() == 0:
        connection.execute(
            text(f"""
                CREATE TABLE IF NOT EXISTS public.{TABLE} (
                    version_num VARCHAR(32) NOT NULL, CONSTRAINT {TABLE}_pkc PRIMARY KEY (version_num))
            """)
        )
        connection.execute(text(f"INSERT INTO public.{TABLE} VALUES (:version)"), {"version": version})  # noqa: S608


def follow(connection: Connection, before: str | None) -> None:
    """After the migrations from `before`: updates the former table too, if it is ours, which means it said the same."""
    if before is not None and _read(connection, FORMER) == before:
        now = {"now": schema_version(connection)}
        connection.execute(text(f"UPDATE public.{FORMER} SET version_num = :now"), now)  # noqa: S608


# Reading a view, a table with a policy or a column of one's own type runs whatever its owner likes, and so does the
# trigger of a table that we change.
COLUMNS = text(f"""
    SELECT attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE attrelid = CAST(to_regclass(:table) AS oid) AND attnum > 0 AND NOT attisdropped
      AND has_table_privilege(attrelid, 'SELECT') AND relkind = 'r' AND NOT relrowsecurity
      AND atttypid IN (SELECT oid FROM pg_type WHERE typname IN ('text', 'varchar')
                       AND typnamespace = CAST(CAST('pg_catalog' AS regnamespace) AS oid))
      AND (:is_ours OR relowner IN ({TRUSTED}))
""")  # noqa: S608 - a constant


def _looks_like_ours(connection: Connection, table: str) -> bool:
    asked = {"table": f"public.{table}", "is_ours": table == TABLE}
    return connection.execute(COLUMNS, asked).scalars().all() == ["version_num"]


def _read(connection: Connection, table: str) -> str | None:
    """The version in a table that looks like ours; None for any other. The former one must also belong to us."""
    if not _looks_like_ours(connection, table):
        return None
    # From here on it stays what it is.
    connection.execute(text(f"LOCK TABLE ONLY public.{table} IN ACCESS SHARE MODE"))
    if not _looks_like_ours(connection, table):
        return None
    versions = connection.execute(text(f"SELECT CAST(version_num AS text) FROM public.{table} LIMIT 2"))  # noqa: S608
    found = list(versions.scalars())
    return found[0] if len(found) == 1 else None
