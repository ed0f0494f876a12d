"""Brings a database to this release's schema: migrations, then the functions, in one transaction."""

from pathlib import Path

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import ProgrammingError

from sql.engine import take_time
from sql.locks import RELEASE

HERE = Path(__file__).parent
OLDEST = 16  # PostgreSQL: what the tests run on


class OldServerError(Exception):
    """The server is older than what we know to work."""


def release(engine: Engine) -> None:
    """Migrates; run again it changes nothing.

    Two at once: the second waits up to a minute for the first. No statement waits longer than 5 s for a lock
    that running jobs hold, so that a release never queues them up behind itself; it fails, and can be repeated.
    """
    from alembic import command  # a quarter of a second that the other processes need not spend
    from alembic.config import Config

    with engine.begin() as connection:
        version = connection.dialect.server_version_info or (0,)
        if version < (OLDEST,):
            raise OldServerError(f"found PostgreSQL {'.'.join(map(str, version))}, expected {OLDEST} or newer")
        take_time(connection)
        connection.execute(text("SET LOCAL lock_timeout = '60s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:space, :id)"), RELEASE)
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        config = Config()
        config.set_main_option("script_location", str(HERE / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        create_functions(connection)
        close_doors(connection)


def close_doors(connection: Connection) -> None:
    """Nobody else may make a function in our schema that is called in the place of one of ours; where we may say so."""
    savepoint = connection.begin_nested()
    try:
        connection.execute(text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
        savepoint.commit()
    except ProgrammingError:  # the schema is not ours: its owner has to do that
        savepoint.rollback()


def create_functions(connection: Connection) -> None:
    for file in sorted((HERE / "functions").glob("*.sql")):
        connection.exec_driver_sql(file.read_text().replace("%", "%%"))


def schema_version(connection: Connection) -> str | None:
    """The migration that the database stands at; None when it was never migrated."""
    if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar() is None:
        return None
    version: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return version


def expected_version() -> str:
    """The migration that this release brings: files are named by their number."""
    return max(file.name.partition("_")[0] for file in (HERE / "migrations" / "versions").glob("[0-9]*.py"))
