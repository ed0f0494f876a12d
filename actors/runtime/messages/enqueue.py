"""The one statement that puts messages into the queue, in the caller's transaction if there is one."""

from collections.abc import Sequence

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from actors.runtime.base.errors import MessageError
from actors.runtime.base.failures import describe, sqlstate
from actors.runtime.messages.transaction import current_transaction
from sql.engine import autocommitting

ENQUEUE = "SELECT public.enqueue_messages(%s::uuid[], %s::text[], %s::jsonb[])"
BEING_PROCESSED = "LH409"  # that function's SQLSTATE for a copy of such a message


def enqueue_messages(engine: Engine, messages: Sequence[tuple[str, str, str]]) -> None:
    """Sends all or none of these: (id, queue, JSON) each. MessageError if one is being processed."""
    columns = tuple(list(column) for column in zip(*messages, strict=True))
    try:
        if connection := current_transaction():
            connection.exec_driver_sql(ENQUEUE, columns)
            return
        with engine.connect() as connection, autocommitting(connection):
            connection.exec_driver_sql(ENQUEUE, columns)
    except DBAPIError as error:
        if sqlstate(error) == BEING_PROCESSED:
            raise MessageError(describe(error)) from error
        raise
