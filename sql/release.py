"""Brings a database to this release's schema: migrations, the functions, the schema ops, in one transaction."""

import re
import time
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from sql.doors import by_the_catalogue, close_public, open_doors, wait_for_others
from sql.engine import lift_time_limits
from sql.locks import RELEASE, holding
from sql.roles import grant_to_operator
from sql.strangers import strangers
from sql.version import TABLE, expected_version, follow, known_versions, schema_version, take_over, was_released_to

HERE = Path(__file__).parent
OLDEST = 16  # of PostgreSQL: what the tests run on
SECONDS_FOR_ANOTHER = 60
WHO_RELEASES = text("""
    SELECT format('of %s, in the session with pid %s', a.usename, a.pid)
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid AND a.datid = l.database
    WHERE l.locktype = 'advisory' AND CAST(l.classid AS bigint) = :space AND CAST(l.objid AS bigint) = :id
      AND l.objsubid = 2 AND l.granted AND a.datname = current_database()
""")


class UnusableDatabaseError(Exception):
    """We can't work on this server or database."""


def check_database(connection: Connection) -> None:
    """UnusableDatabaseError if no release can fix it."""
    version = connection.dialect.server_version_info or (0,)
    if version < (OLDEST,):
        raise UnusableDatabaseError(f"found PostgreSQL {'.'.join(map(str, version))}, expected {OLDEST} or newer")
    encoding = connection.execute(text("SELECT current_setting('server_encoding')")).scalar()
    if encoding != "UTF8":
        raise UnusableDatabaseError(
            f"found a database whose encoding is {encoding}, expected UTF8: create another one, with "
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )


def release(engine: Engine) -> str | None:
    """Migrates; a second run changes nothing. Returns a warning, if there is one.

    If two run at once, the second waits up to a minute for the first to end. No statement waits longer than 5 s for a
    lock that running jobs hold, so that jobs never queue up behind a release; it fails instead, and can be repeated.

    The schema `public` is closed before it looks at what others have made there: what is made later comes too late.
    """
    deadline = time.monotonic() + SECONDS_FOR_ANOTHER
    with engine.connect() as connection:
        with connection.begin():
            check_database(connection)
        while time.monotonic() < deadline:
            with holding(connection, RELEASE) as is_its_turn:
                if is_its_turn:
                    return _release(connection)
            time.sleep(0.1)  # without a transaction: the other release may have to wait until all have ended
        with connection.begin():
            raise UnusableDatabaseError(_who_releases(connection))


def _release(connection: Connection) -> str | None:
    with connection.begin():
        _limit(connection)
        # Before the first release, somebody else may have closed it just now.
        has_to_wait = close_public(connection) or not was_released_to(connection)
    if has_to_wait:
        with connection.begin():
            _limit(connection)
            if found := wait_for_others(connection):
                raise UnusableDatabaseError(found)
    with connection.begin():
        _limit(connection)
        if found := strangers(connection):
            raise UnusableDatabaseError(found)
        take_over(connection)
        before = schema_version(connection)
        _refuse_newer(before)
        _migrate(connection)
        follow(connection, before)
        create_functions(connection)
        warnings = [create_ops(connection)]
        # Processes with other roles read it when they start.
        connection.execute(text(f"GRANT SELECT ON public.{TABLE} TO PUBLIC"))
        warnings.append(open_doors(connection))
        if found := strangers(connection):  # made meanwhile, by somebody who may still do so
            raise UnusableDatabaseError(found)
        return "; ".join(filter(None, warnings)) or None


def _limit(connection: Connection) -> None:
    """For the open transaction: a release that is suspended must not keep its locks on the tables."""
    lift_time_limits(connection)
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '60s'; SET LOCAL lock_timeout = '5s'"))


def _who_releases(connection: Connection) -> str:
    with by_the_catalogue(connection):
        who = connection.execute(WHO_RELEASES, RELEASE).scalar()
    if who is None:
        return "found another release, which has just ended: release again"
    return (
        f"found another release {who}, expected none that takes longer than a minute: wait until it ends, or end its "
        "session"
    )


def _migrate(connection: Connection) -> None:
    from alembic import command  # takes a quarter of a second, which the other processes save
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(HERE / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _refuse_newer(version: str | None) -> None:
    if version is not None and version not in known_versions():
        raise UnusableDatabaseError(
            f"found the database at version {version}, expected {expected_version()} or older: a newer release has "
            "migrated it"
        )


def create_functions(connection: Connection) -> None:
    for file in sorted((HERE / "functions").rglob("*.sql")):
        written = file.read_text()
        connection.exec_driver_sql(written.replace("%", "%%"))
        for comment, name in COMMENTED.findall(written):
            lines = [line.removeprefix("--").strip() for line in comment.splitlines()]
            statement = connection.execute(COMMENT, {"name": name, "comment": " ".join(lines)}).scalar_one()
            connection.exec_driver_sql(statement.replace("%", "%%"))


# A function's comment in psql (\df+) is the one above it in its file.
COMMENTED = re.compile(r"((?:^--.*\n)+)CREATE OR REPLACE FUNCTION (public\.\w+)\(", re.MULTILINE)
COMMENT = text("""
    SELECT pg_catalog.format('COMMENT ON FUNCTION %s IS %L', CAST(:name AS regproc), CAST(:comment AS text))
""")

MAY_MAKE_OPS = text("""
    SELECT coalesce(has_schema_privilege(to_regnamespace('ops')::oid, 'CREATE'),
                    has_database_privilege(current_database(), 'CREATE'))
""")


def create_ops(connection: Connection) -> str | None:
    """The schema for people with psql. If it cannot be created, the release goes on: returns a warning."""
    if not connection.execute(MAY_MAKE_OPS).scalar_one():
        return "the schema ops is missing: a DBA can CREATE SCHEMA ops AUTHORIZATION this role; then release again"
    if connection.execute(text("SELECT to_regnamespace('ops')")).scalar() is None:
        connection.execute(text("CREATE SCHEMA ops"))
    for file in sorted((HERE / "ops").glob("*.sql")):
        connection.exec_driver_sql(file.read_text().replace("%", "%%"))
    grant_to_operator(connection)
    return None
