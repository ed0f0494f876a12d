"""Who asks: bearer tokens, of which only the hash is stored, and what a role may do."""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

import falcon
from sqlalchemy import Connection, Engine, text

from service.errors import ApiError

WRITERS = ("owner", "admin")

# By its hash: how long that takes says nothing about any token.
FIND = text("""
    SELECT business_id, user_id, role, coalesce(last_used_at < now() - interval '1 minute', true) AS unused
    FROM api_tokens WHERE token_sha256 = :hash AND revoked_at IS NULL
""")

TOUCH = text("UPDATE api_tokens SET last_used_at = now() WHERE token_sha256 = :hash")

CREATE = text("""
    INSERT INTO api_tokens (token_sha256, business_id, user_id, role) VALUES (:hash, :business_id, :user_id, :role)
""")


@dataclass(frozen=True)
class Caller:
    business_id: int | None  # None: an operator, who belongs to no business
    user_id: int | None
    role: str

    @property
    def name(self) -> str:
        """How this caller is named in a job's events."""
        return f"{'operator' if self.role == 'operator' else 'user'}:{self.user_id or 'unnamed'}"

    def require(self, roles: tuple[str, ...]) -> None:
        """403 unless the caller has one of these roles; an operator may do everything."""
        if self.role != "operator" and self.role not in roles:
            raise ApiError(403, "forbidden", f"A token with the role {self.role} may not do this")

    def own_business(self) -> int:
        """The caller's business; 403 for an operator."""
        if self.business_id is None:
            raise ApiError(403, "no_business", "An operator's token has no business; name a job")
        return self.business_id


def create_token(connection: Connection, role: str, business_id: int | None, user_id: int | None) -> str:
    """A new token, which is told this once and never stored."""
    token = f"lh_{secrets.token_urlsafe(32)}"
    values = {"hash": _hash(token), "business_id": business_id, "user_id": user_id, "role": role}
    connection.execute(CREATE, values)
    return token


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


class Authentication:
    """Falcon middleware: 401 for every resource that does not say `open = True`; else `request.context.caller`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def process_resource(
        self, request: falcon.Request, _response: falcon.Response, resource: Any, _params: Any
    ) -> None:
        if not getattr(resource, "open", False):
            request.context.caller = self._caller(request)

    def _caller(self, request: falcon.Request) -> Caller:
        scheme, _, token = (request.auth or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise self._refused("Send the header Authorization: Bearer <token>")
        hashed = _hash(token.strip())
        with self._engine.begin() as connection:
            row = connection.execute(FIND, {"hash": hashed}).one_or_none()
            if row is None:
                raise self._refused("This token is not known, or has been revoked")
            if row.unused:
                connection.execute(TOUCH, {"hash": hashed})
        return Caller(row.business_id, row.user_id, row.role)

    @staticmethod
    def _refused(error: str) -> ApiError:
        return ApiError(401, "unauthorized", error, headers={"WWW-Authenticate": "Bearer"})
