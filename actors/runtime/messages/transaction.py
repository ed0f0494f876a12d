"""Sending in the caller's transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from sqlalchemy import Connection

_current: ContextVar[Connection | None] = ContextVar("in_transaction", default=None)


@contextmanager
def in_transaction(connection: Connection) -> Iterator[None]:
    """Messages sent inside belong to the transaction of `connection`: they exist once it commits, or never."""
    token = _current.set(connection)
    try:
        yield
    finally:
        _current.reset(token)


def current_transaction() -> Connection | None:
    """The connection of the innermost in_transaction() around the caller."""
    return _current.get()
