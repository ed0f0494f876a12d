"""What a failed statement means for the job: wait, find the row, or give up."""

import psycopg2
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from sql.engine import is_outlived

# SQLSTATE classes and codes (PostgreSQL manual, appendix A) after which the same statement may work later.
TRANSIENT = (
    "08",  # connection
    "40",  # deadlock, serialization failure
    "53",  # the server is out of a resource
    "57",  # shutdown, restart, statement timeout
    "58",  # the server's own disk
    "25006",  # read-only: a server that is being replaced
    "42501",  # no privilege: platforms revoke INSERT at a quota, and grant it again
    "25P03",  # idle-in-transaction timeout
    "25P04",  # transaction timeout
    "55P03",  # lock timeout
)
LOST = (OperationalError, InterfaceError, psycopg2.OperationalError, psycopg2.InterfaceError)  # if they have no code
BUGS = ("0A", "2", "3", "42", "5", "F0", "H", "X")  # the statement itself is wrong, or the server is
DATA = ("21", "22", "23", "27", "2F", "38", "39")  # … but these are about the values


def is_transient(error: BaseException) -> bool:
    """Would the same work succeed later?"""
    if isinstance(error, PoolTimeout | TimeoutError):
        return True
    if isinstance(error, PendingRollbackError):  # the session was discarded, but still used
        return True
    if not isinstance(error, DBAPIError | psycopg2.Error):
        return False
    state = sqlstate(error)
    if is_outlived(state):  # then we have discarded the session; the next try may work
        return is_transient_state(state)
    if getattr(error, "connection_invalidated", False):
        return True
    return isinstance(error, LOST) if state is None else is_transient_state(state)


def is_transient_state(state: str | None) -> bool:
    return (state or "").startswith(TRANSIENT)


def is_lost(error: BaseException) -> bool:
    """Is the connection lost, so that nothing else can be asked either?"""
    state = sqlstate(error)
    return is_transient(error) and (state is None or state.startswith(("08", "57P")))


def is_data(error: BaseException) -> bool:
    """Did it fail on a row's data: a value, a constraint, a trigger that raises?"""
    state = sqlstate(error)
    if state is None or is_transient(error):
        return False
    return state.startswith(DATA) or not state.startswith(BUGS)


def is_timeout(error: BaseException) -> bool:
    """Was the statement cancelled, usually by statement_timeout?"""
    return sqlstate(error) == "57014"


def is_lock_timeout(error: BaseException) -> bool:
    """Was it cancelled by a time limit, perhaps while waiting for a lock?"""
    return sqlstate(error) in ("55P03", "57014")


def sqlstate(error: BaseException) -> str | None:
    """The five characters, or None if the server sent none (the connection broke)."""
    state: str | None = getattr(getattr(error, "orig", None) or error, "pgcode", None)
    return state


def describe(error: BaseException) -> str:
    """The error in one line, without the statement and its values, at most 500 characters."""
    original = getattr(error, "orig", None) or error
    message = getattr(getattr(original, "diag", None), "message_primary", None) or str(original)
    line = message.strip().partition("\n")[0]
    if isinstance(error, DBAPIError | psycopg2.Error) and line:
        return line[:500]
    return f"{type(error).__name__}: {line}"[:500]


def describe_for_users(error: BaseException) -> str:
    """The same for a job's `last_error`, which every member of the business can read: names no hosts."""
    if isinstance(error, DBAPIError | psycopg2.Error) and sqlstate(error) is None and is_transient(error):
        return "the connection to Postgres was lost"
    return describe(error)


def backoff_seconds(failures: int) -> int:
    """How long to wait after this many failures in a row: 2, 4, 8, 16, then always 30 s."""
    return min(1 << failures, 30)
