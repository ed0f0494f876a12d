"""Connections to Postgres: what every session relies on, its limits, and which of them must not be used again."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2.extensions import connection
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event, text

from sql.url import DRIVER, connector

# Whatever the server, the database or the role has as a default. But never default_transaction_read_only: a server
# that somebody made read-only stays so.
SESSION_SETTINGS = {
    # What our statements and psycopg2 mean by what they say. Two more belong to the connection (sql/url.py).
    "timezone": "UTC",
    "search_path": "public, pg_temp",  # no schema of a user's name, and no temporary table, comes before ours
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "exit_on_error": "off",
    # No session of ours may wait or sit for ever, nor outlive a client that is gone.
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "15s",
    "client_connection_check_interval": "1s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
TRANSACTION_TIMEOUT = "60s"  # a setting of PostgreSQL 17 and newer

# SQLSTATEs that speak of the session: what is wrong with it may outlive its cause, so it must not be used again.
READ_ONLY = "25006"  # default_transaction_read_only is read once, when a session begins
OUTLIVED = (
    READ_ONLY,
    "0A000",  # above all: a cached plan must not change its result type
    "26000",  # a prepared statement that a proxy has in another session
    "34000",  # the same for a cursor
    "XX",  # something within that server process
)


def make_engine(url: str, *, application_name: str, pool_size: int = 5, max_overflow: int = 5) -> Engine:
    """An engine whose every session has the settings above and names itself in pg_stat_activity."""
    engine = create_engine(
        DRIVER,
        creator=connector(url, application_name=application_name),
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout=5,
        hide_parameters=True,  # an error's text may be logged; what was bound may be a token's hash
        pool_pre_ping=True,  # a connection that died in the pool is replaced, not handed out
    )
    event.listen(engine, "connect", _set_up_session)
    event.listen(engine, "checkout", _end_autocommit)
    event.listen(engine, "handle_error", _throw_away)
    return engine


def is_outlived(sqlstate: str | None) -> bool:
    """Does this error speak of the session rather than of the statement?"""
    return sqlstate is not None and sqlstate.startswith(OUTLIVED)


def keep_session(connection: Connection) -> None:
    """From now on none of those errors costs this session, only its end does.

    For a session that holds more than its next statement: a worker's identity, whose loss costs its jobs a recovery. It
    could write when it began, so it is read-only only for as long as its server is.
    """
    connection.execution_options(keep_session=True)


def _is_kept(connection: Connection | None) -> bool:
    return connection is not None and bool(connection.get_execution_options().get("keep_session"))


def _throw_away(context: ExceptionContext) -> None:
    """The session goes, and its transaction with it: to whoever goes on with it SQLAlchemy says to roll back first.

    One that is read-only is hardly alone: then all that wait in the pool are replaced before they are used again.
    """
    state = getattr(context.original_exception, "pgcode", None)
    if is_outlived(state) and not _is_kept(context.connection):
        context.invalidate_pool_on_disconnect = context.is_disconnect or state == READ_ONLY
        context.is_disconnect = True


def lift_time_limits(connection: Connection) -> None:
    """Lifts the limits on time, for the transaction that is open."""
    names = ["statement_timeout", "idle_in_transaction_session_timeout"]
    if (connection.dialect.server_version_info or (0,)) >= (17,):
        names.append("transaction_timeout")
    connection.execute(
        text("SELECT set_config(name, '0', true) FROM pg_catalog.unnest(CAST(:names AS text[])) AS name"),
        {"names": names},
    )


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """For statements that only read: each is a transaction of its own, in one round trip instead of three."""
    with engine.connect() as connection:
        session: Any = connection.connection.driver_connection
        session.autocommit = True
        try:
            yield connection
        finally:
            if not connection.invalidated and not session.closed:
                connection.rollback()  # SQLAlchemy's view of it; nothing is open
                session.autocommit = False


@contextmanager
def autocommitting(connection: Connection) -> Iterator[Any]:
    """A cursor of psycopg2's for statements that are a transaction each: one round trip instead of three.

    SQLAlchemy's own way (an isolation level) costs two more, for it sets a default on the server and takes it back.
    """
    session: Any = connection.connection.driver_connection
    session.autocommit = True
    try:
        with session.cursor() as cursor:
            yield cursor
    except psycopg2.Error as error:  # SQLAlchemy hears nothing of it
        if is_outlived(error.pgcode) and not _is_kept(connection):
            connection.invalidate(error)
        raise
    finally:
        if not session.closed:
            session.autocommit = False


def _end_autocommit(dbapi_connection: connection, _record: Any, _proxy: Any) -> None:
    """A time limit may interrupt a thread anywhere, also while it takes its connection out of autocommit.

    The next to get that connection would commit a batch without its checkpoint.
    """
    if dbapi_connection.autocommit:
        dbapi_connection.autocommit = False


def _set_up_session(dbapi_connection: connection, _record: Any) -> None:
    settings = dict(SESSION_SETTINGS)
    if dbapi_connection.server_version >= 170000:
        settings["transaction_timeout"] = TRANSACTION_TIMEOUT
    # Not as start-up options: a pooling proxy refuses those.
    with dbapi_connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config(name, setting, false) FROM unnest(%s, %s) AS s (name, setting)",
            (list(settings), list(settings.values())),
        )
    dbapi_connection.commit()
