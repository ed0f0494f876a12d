"""Connections to Postgres: the URL in the forms that each library wants, and limits on every session."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg2.extensions import connection
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError

# No session of ours may wait or sit for ever, nor outlive a client that is gone.
SESSION_SETTINGS = {
    "timezone": "UTC",
    "search_path": "public, pg_temp",  # no schema of a user's name, and no temporary table, comes before ours
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

CLIENT_SETTINGS = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 15000,
}


def sqlalchemy_url(url: str) -> URL:
    """`postgres://…` or `postgresql://…` as SQLAlchemy's URL for psycopg2.

    Raises ValueError when it is no such URL; the message does not repeat it, for it may hold a password.
    """
    if not url.startswith(("postgres://", "postgresql://")):
        raise ValueError("expected postgres://… or postgresql://…")
    try:
        parsed = make_url(url)
        parsed.translate_connect_args()
    except (ArgumentError, ValueError):
        raise ValueError("expected postgres://user:password@host:port/database") from None
    if "@" in f"{parsed.host}{parsed.database}":  # then a part of the password has been taken for them
        raise ValueError("found more than one @, expected one: in a user or a password write %40 for it, and %2F for /")
    if not parsed.database:
        raise ValueError("expected the name of a database at its end")
    return parsed.set(drivername="postgresql+psycopg2")


def libpq_url(url: str) -> str:
    """The same for psql and libpq."""
    return sqlalchemy_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def make_engine(url: str, *, application_name: str, pool_size: int = 5, max_overflow: int = 5) -> Engine:
    """An engine whose every session has the limits above and names itself in pg_stat_activity."""
    engine = create_engine(
        sqlalchemy_url(url),
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout=5,
        hide_parameters=True,  # an error's text may be logged; what was bound may be a token's hash
        pool_pre_ping=True,  # a connection that died in the pool is replaced, not handed out
        connect_args={**CLIENT_SETTINGS, "application_name": application_name},
    )
    event.listen(engine, "connect", _limit_session)
    event.listen(engine, "checkout", _end_autocommit)
    return engine


def take_time(connection: Connection) -> None:
    """Lifts the limits on time, for the transaction that is open."""
    names = ["statement_timeout", "idle_in_transaction_session_timeout"]
    if (connection.dialect.server_version_info or (0,)) >= (17,):
        names.append("transaction_timeout")
    connection.execute(text("SELECT set_config(name, '0', true) FROM unnest(:names) AS name"), {"names": names})


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
    finally:
        if not session.closed:
            session.autocommit = False


def _end_autocommit(dbapi_connection: connection, _record: Any, _proxy: Any) -> None:
    """A time limit may interrupt a thread anywhere, also while it takes its connection out of autocommit.

    The next to get that connection would commit a batch without its checkpoint.
    """
    if dbapi_connection.autocommit:
        dbapi_connection.autocommit = False


def _limit_session(dbapi_connection: connection, _record: Any) -> None:
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
