"""`python -m service token`: creating, listing, revoking and rotating API tokens."""

import getpass
import socket
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, text

from actors.runtime.base.errors import LonghaulError
from service.auth import create_token

DAYS = 365  # for which a new token is valid, unless --expires is given

LIST = text("""
    SELECT id, business_id, user_id, role, name, created_at, last_used_at, expires_at, revoked_at, issued_by
    FROM api_tokens WHERE CAST(:business_id AS bigint) IS NULL OR business_id = :business_id ORDER BY id
""")

REVOKE = text("UPDATE api_tokens SET revoked_at = now() WHERE id = :id AND revoked_at IS NULL RETURNING *")

FIND = text("SELECT * FROM api_tokens WHERE id = :id")

COLUMNS = ("id", "business", "user", "role", "name", "created", "last used", "expires", "revoked", "issued by")


def new_token(
    connection: Connection, role: str, business_id: int | None, user_id: int | None, name: str | None, days: int
) -> str:
    """`days`: 0 for a token that does not expire."""
    return create_token(connection, role, business_id, user_id, name=name, days=days or None, issued_by=_issuer())


def list_tokens(connection: Connection, business_id: int | None) -> list[str]:
    """Lines of a table, without secrets."""
    rows = [[_shown(value) for value in row] for row in connection.execute(LIST, {"business_id": business_id})]
    widths = [max(len(line[n]) for line in [list(COLUMNS), *rows]) for n in range(len(COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in [COLUMNS, *rows]]  # fmt: skip


def revoke_token(connection: Connection, token_id: int) -> None:
    """From the next request on, it gets a 401. Can be repeated. LonghaulError if there is no such token."""
    if connection.execute(REVOKE, {"id": token_id}).one_or_none() is None:
        _find(connection, token_id)


def rotate_token(connection: Connection, token_id: int, days: int | None) -> str:
    """A new token in place of this one, which is revoked in the same transaction; `days` None: valid for as long."""
    old = _find(connection, token_id)
    if days is None:
        if old.expires_at is not None and old.expires_at < datetime.now(UTC):
            raise LonghaulError(f"token {token_id} has expired; choose how long the new one is valid: --expires DAYS")
        days = 0 if old.expires_at is None else max(1, (old.expires_at - old.created_at).days)
    if connection.execute(REVOKE, {"id": token_id}).one_or_none() is None:
        raise LonghaulError(f"token {token_id} has already been revoked; create a new one")
    return new_token(connection, old.role, old.business_id, old.user_id, old.name, days)


def _find(connection: Connection, token_id: int) -> Any:
    row = connection.execute(FIND, {"id": token_id}).one_or_none()
    if row is None:
        raise LonghaulError(f"there is no token {token_id}; see: python -m service token list")
    return row


def _issuer() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):  # a user without a name
        return "unknown"


def _shown(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return "-" if value is None else str(value)
