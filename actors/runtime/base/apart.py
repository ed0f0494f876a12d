"""Writes many rows at once; a row that cannot be written affects no other."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from actors.runtime.base.failures import describe, is_timeout, is_transient, sqlstate

log = structlog.get_logger("longhaul.worker")

Item = TypeVar("Item")
Found = TypeVar("Found")

LIMITS = text("SELECT set_config('lock_timeout', '1s', true), set_config('statement_timeout', '5s', true)")
LOCK_TIMEOUT = "55P03"


def write_apart(
    session: Connection, items: Sequence[Item], write: Callable[[Connection, Sequence[Item]], Found], *, what: str
) -> Iterator[Found]:
    """`write(session, items)` in a separate transaction; if it fails, in halves, down to the item that fails.

    That item is logged as `what` and skipped. Errors of the server rather than of a row are raised.
    """
    groups = [items] if items else []
    while groups:
        group = groups.pop()
        try:
            with session.begin():
                session.execute(LIMITS)
                found = write(session, group)
            yield found
        except DBAPIError as error:
            if is_transient(error) and not is_timeout(error) and sqlstate(error) != LOCK_TIMEOUT:
                raise
            if len(group) == 1:
                log.error("row.left", what=what, id=str(group[0]), error=describe(error))
            else:
                half = len(group) // 2
                groups += [group[half:], group[:half]]
