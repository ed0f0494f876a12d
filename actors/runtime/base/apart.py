"""Writes many rows with one statement; a row that cannot be written affects no other."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, Row, TextClause, text
from sqlalchemy.exc import DBAPIError

from actors.runtime.base.failures import describe, is_timeout, is_transient, sqlstate

log = structlog.get_logger("longhaul.worker")

Item = TypeVar("Item")

LIMITS = text("SELECT set_config('lock_timeout', '1s', true), set_config('statement_timeout', '5s', true)")
LOCK_TIMEOUT = "55P03"


def _as_ids(items: Sequence[Any]) -> dict[str, Any]:
    return {"ids": list(items)}


def write_apart(
    session: Connection,
    statement: TextClause,
    items: Sequence[Item],
    bind: Callable[[Sequence[Item]], dict[str, Any]] = _as_ids,
    *,
    what: str,
) -> Iterator[Row[Any]]:
    """The statement in a separate transaction; if it fails, in halves, down to the item that fails. Yields its rows.

    That item is logged as `what` and skipped. Errors of the server rather than of a row are raised.
    """
    groups = [items] if items else []
    while groups:
        group = groups.pop()
        try:
            with session.begin():
                session.execute(LIMITS)
                result = session.execute(statement, bind(group))
                rows = result.all() if result.returns_rows else []
            yield from rows
        except DBAPIError as error:
            if is_transient(error) and not is_timeout(error) and sqlstate(error) != LOCK_TIMEOUT:
                raise
            if len(group) == 1:
                log.error("row.left", what=what, id=str(group[0]), error=describe(error))
            else:
                half = len(group) // 2
                groups += [group[half:], group[:half]]
