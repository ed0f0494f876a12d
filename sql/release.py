"""Brings a database to this release's schema: migrations, the functions, the schema ops, in one transaction."""

import re
from pathlib import Path

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import ProgrammingError

from sql.engine import lift_time_limits
from sql.locks import RELEASE
from sql.roles import grant_to_operator
from sql.version import TABLE, expected_version, follow, known_versions, schema_version, take_over

HERE = Path(__file__).parent
OLDEST = 16  # PostgreSQL: what the tests run on


class UnusableDatabaseError(Exception):
    """The server or the database is not one that we can work on."""


def check_database(connection: Connection) -> None:
    """UnusableDatabaseError when no release can fix it."""
    version = connection.dialect.server_version_info or (0,)
    if version < (OLDEST,):
        raise UnusableDatabaseError(f"found PostgreSQL {'.'.join(map(str, version))}, expected {OLDEST} or newer")
    encoding = connection.execute(text("SELECT current_setting('server_encoding')")).scalar()
    if encoding != "UTF8":
        raise UnusableDatabaseError(
            f"found a database whose encoding is {encoding}, expected UTF8: make another one, with "
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )


def release(engine: Engine) -> str | None:
    """Migrates; run again it changes nothing. Returns a warning, where there is one.

    Two at once: the second waits up to a minute for the first. No statement waits longer than 5 s for a lock
    that running jobs hold, so that a release never queues them up behind itself; it fails, and can be repeated.
    """
    from alembic import command  # a quarter of a second that the other processes need not spend
    from alembic.config import Config

    with engine.begin() as connection:
        check_database(connection)
        lift_time_limits(connection)
        connection.execute(text("SET LOCAL lock_timeout = '60s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:space, :id)"), RELEASE)
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        take_over(connection)
        before = schema_version(connection)
        if before is not None and before not in known_versions():
            raise UnusableDatabaseError(
                f"found the database at version {before}, expected {expected_version()} or older: a newer release than "
                "this one has been here"
            )
        config = Config()
        config.set_main_option("script_location", str(HERE / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        follow(connection, before)
        create_functions(connection)
        warnings = [create_ops(connection)]
        # A process with a role of its own asks for it at its start.
        connection.execute(text(f"GRANT SELECT ON public.{TABLE} TO PUBLIC"))
        warnings.append(close_doors(connection))
        return "; ".join(filter(None, warnings)) or None


# Who else may create in our schema? Its owner may, and superusers.
CREATORS = text("""
    SELECT coalesce(role.rolname, 'PUBLIC')
    FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) AS granted
    LEFT JOIN pg_roles role ON role.oid = granted.grantee
    WHERE n.nspname = 'public' AND granted.privilege_type = 'CREATE' AND granted.grantee <> n.nspowner
      AND coalesce(role.rolname <> current_user AND NOT role.rolsuper, true)
    ORDER BY 1
""")


def close_doors(connection: Connection) -> str | None:
    """Nobody else may make a function in our schema that is called in the place of one of ours; where we may say so.

    Where we may not, the owner of the schema has to: returns the sentence that says how.
    """
    savepoint = connection.begin_nested()
    try:
        connection.execute(text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
        savepoint.commit()
    except ProgrammingError:  # the schema is not ours
        savepoint.rollback()
    # If it isn't, we may also have been told so by a mere warning.
    others = connection.scalars(CREATORS).all()
    if not others:
        return None
    return (
        f"{', '.join(others)} may make functions in the schema public, which could be called in the place of ours; its "
        f"owner can REVOKE CREATE ON SCHEMA public FROM {', '.join(others)}"
    )


def create_functions(connection: Connection) -> None:
    for file in sorted((HERE / "functions").rglob("*.sql")):
        written = file.read_text()
        connection.exec_driver_sql(written.replace("%", "%%"))
        for comment, name in COMMENTED.findall(written):
            lines = [line.removeprefix("--").strip() for line in comment.splitlines()]
            statement = connection.execute(COMMENT, {"name": name, "comment": " ".join(lines)}).scalar_one()
            connection.exec_driver_sql(statement.replace("%", "%%"))


# A function says in psql (\df+) what its file says above it.
COMMENTED = re.compile(r"((?:^--.*\n)+)CREATE OR REPLACE FUNCTION (public\.\w+)\(", re.MULTILINE)
COMMENT = text("SELECT format('COMMENT ON FUNCTION %s IS %L', CAST(:name AS regproc), CAST(:comment AS text))")

MAY_MAKE_OPS = text("""
    SELECT coalesce(has_schema_privilege(to_regnamespace('ops')::oid, 'CREATE'),
                    has_database_privilege(current_database(), 'CREATE'))
""")


def create_ops(connection: Connection) -> str | None:
    """The schema for people with psql. It is no reason not to release: returns a warning where it cannot be made."""
    if not connection.execute(MAY_MAKE_OPS).scalar_one():
        return "the schema ops is missing: a DBA can CREATE SCHEMA ops AUTHORIZATION this role; then release again"
    if connection.execute(text("SELECT to_regnamespace('ops')")).scalar() is None:
        connection.execute(text("CREATE SCHEMA ops"))
    for file in sorted((HERE / "ops").glob("*.sql")):
        connection.exec_driver_sql(file.read_text().replace("%", "%%"))
    grant_to_operator(connection)
    return None
