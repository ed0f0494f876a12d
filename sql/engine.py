"""Connections to Postgres: what every session relies on, its limits, and which sessions must not be reused."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2.extensions import connection
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event, text

from sql.pool import replace_dead_connections
from sql.url import DRIVER, connector

# Set whatever the defaults of the server, the database or the role are. But never default_transaction_read_only: if
# somebody made a server read-only, it stays so.
SESSION_SETTINGS = {
    # What our statements and psycopg2 rely on. Two more are set when connecting (sql/url.py).
    "timezone": "UTC",
    "search_path": "public, pg_temp",  # no schema named like the user, and no temporary table, comes before ours
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "exit_on_error": "off",
    # No session may wait or idle forever, or outlive its client.
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "15s",
    "client_connection_check_interval": "1s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
TRANSACTION_TIMEOUT = "60s"  # a setting since PostgreSQL 17

# SQLSTATEs about the session: its fault may outlive the cause, so the session must not be reused.
READ_ONLY = "25006"  # default_transaction_read_only is read once, when a session begins
OUTLIVED = (
    READ_ONLY,
    "0A000",  # mainly: cached plan must not change result type
    "26000",  # a prepared statement that a proxy has in another session
    "34000",  # the same for a cursor
    "XX",  # an internal error of that server process
)


def make_engine(url: str, *, application_name: str, pool_size: int = 5, max_overflow: int = 5) -> Engine:
    """An engine whose every session has the settings above and names itself in pg_stat_activity."""
    engine = create_engine(
        DRIVER,
        creator=connector(url, application_name=application_name),
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout=5,
        hide_parameters=True,  # errors may be logged, and a parameter may be a token's hash
    )
    replace_dead_connections(engine)
    event.listen(engine, "connect", _set_up_session)
    event.listen(engine, "checkout", _end_autocommit)
    event.listen(engine, "handle_error", _throw_away)
    return engine


def is_outlived(sqlstate: str | None) -> bool:
    """Is this error about the session rather than the statement?"""
    return sqlstate is not None and sqlstate.startswith(OUTLIVED)


def keep_session(connection: Connection) -> None:
    """From now on, those errors do not discard this session.

    For a session whose loss is expensive: if it holds a worker's identity, the worker's jobs have to be recovered. It
    could write when it began, so it is read-only only as long as its server is.
    """
    connection.execution_options(keep_session=True)


def _is_kept(connection: Connection | None) -> bool:
    return connection is not None and bool(connection.get_execution_options().get("keep_session"))


def _throw_away(context: ExceptionContext) -> None:
    """Discards the session and its transaction: if the code still uses it, SQLAlchemy asks for a rollback first.

    If one is read-only, others probably are too: then all sessions in the pool are replaced before they are reused.
    """
    state = getattr(context.original_exception, "pgcode", None)
    if is_outlived(state) and not _is_kept(context.connection):
        context.invalidate_pool_on_disconnect = context.is_disconnect or state == READ_ONLY
        context.is_disconnect = True


def lift_time_limits(connection: Connection) -> None:
    """Lifts the time limits for the open transaction."""
    names = ["statement_timeout", "idle_in_transaction_session_timeout"]
    if (connection.dialect.server_version_info or (0,)) >= (17,):
        names.append("transaction_timeout")
    connection.execute(
        text("SELECT set_config(name, '0', true) FROM pg_catalog.unnest(CAST(:names AS text[])) AS name"),
        {"names": names},
    )


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """For statements that only read: each is its own transaction, in one round trip instead of three."""
    with engine.connect() as connection:
        session: Any = connection.connection.driver_connection
        session.autocommit = True
        try:
            yield connection
        finally:
            if not connection.invalidated and not session.closed:
                connection.rollback()  # only for SQLAlchemy; nothing is open
                session.autocommit = False


@contextmanager
def autocommitting(connection: Connection) -> Iterator[Any]:
    """A psycopg2 cursor for statements that are a transaction each: one round trip instead of three.

    SQLAlchemy's own way (an isolation level) costs two more, because it sets a default on the server and resets it.
    """
    session: Any = connection.connection.driver_connection
    session.autocommit = True
    try:
        with _cursor(connection) as cursor:
            yield cursor
    finally:
        if not session.closed:
            session.autocommit = False


def execute(connection: Connection, statement: str, values: Mapping[str, Any]) -> int:
    """Runs a short statement with psycopg2's placeholders; returns how many rows it changed. For what is done all the
    time: SQLAlchemy would take longer than Postgres does.
    """
    with _cursor(connection) as cursor:
        cursor.execute(statement, values)
        changed: int = cursor.rowcount
        return changed


def fetch(connection: Connection, statement: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The same, and returns the rows."""
    with _cursor(connection) as cursor:
        cursor.execute(statement, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@contextmanager
def _cursor(connection: Connection) -> Iterator[Any]:
    session: Any = connection.connection.driver_connection
    try:
        with session.cursor() as cursor:
            yield cursor
    except psycopg2.Error as error:
        _throw_away_unseen(connection, error)
        raise


def _throw_away_unseen(connection: Connection, error: psycopg2.Error) -> None:
    """As _throw_away does, for an error that SQLAlchemy does not see."""
    session: Any = connection.connection.driver_connection
    if session.closed or (is_outlived(error.pgcode) and not _is_kept(connection)):
        connection.invalidate(error)


def _end_autocommit(dbapi_connection: connection, _record: Any, _proxy: Any) -> None:
    """A time limit may interrupt a thread anywhere, even while it takes its connection out of autocommit.

    The connection's next user would then commit a batch without its checkpoint.
    """
    if dbapi_connection.autocommit:
        dbapi_connection.autocommit = False


def _set_up_session(dbapi_connection: connection, _record: Any) -> None:
    settings = dict(SESSION_SETTINGS)
    if dbapi_connection.server_version >= 170000:
        settings["transaction_timeout"] = TRANSACTION_TIMEOUT
    # Not as startup options: a pooling proxy refuses those.
    with dbapi_connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config(name, setting, false) FROM unnest(%s, %s) AS s (name, setting)",
            (list(settings), list(settings.values())),
        )
    dbapi_connection.commit()
