"""Is a connection of the pool still alive? Asked whenever one is taken out, mostly without a round trip."""

import select
import time
from typing import Any

import psycopg2
from psycopg2.extensions import connection
from sqlalchemy import Engine, event
from sqlalchemy.exc import InvalidatePoolError

FRESH_SECONDS = 1.0  # since its last use; a server that vanishes without a word is noticed after that


def replace_dead_connections(engine: Engine) -> None:
    """SQLAlchemy's pool_pre_ping, at a tenth of its cost: it asks the server each time, and every poll waited for that.

    A session that the server has ended has something to read: its last words, or the end of the stream.
    """

    def note_return(dbapi_connection: connection | None, record: Any) -> None:
        if dbapi_connection is not None:
            record.info["returned_at"] = time.monotonic()

    def check(dbapi_connection: connection, record: Any, _proxy: Any) -> None:
        returned_at = record.info.get("returned_at")
        if returned_at is None:  # new
            return
        if time.monotonic() - returned_at < FRESH_SECONDS and not _has_something_to_read(dbapi_connection):
            return
        try:
            engine.dialect.do_ping(dbapi_connection)  # type: ignore[arg-type]
        except psycopg2.Error as error:
            raise InvalidatePoolError() from error

    event.listen(engine, "checkin", note_return)
    event.listen(engine, "checkout", check)


def _has_something_to_read(dbapi_connection: connection) -> bool:
    if dbapi_connection.closed:
        return True
    poll = select.poll()  # select() knows no file number beyond 1023
    poll.register(dbapi_connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
