"""Who asks: bearer tokens, of which only the hash is stored, and what a role may do."""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

import falcon
import structlog
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from actors.runtime.base.failures import describe
from service.errors import ApiError
from sql.engine import reading

log = structlog.get_logger("longhaul.auth")

WRITERS = ("owner", "admin")

# By its hash: how long that takes says nothing about any token.
FIND = text("""
    SELECT t.id, t.business_id, t.user_id, t.role, t.expires_at, c.allowance,
           coalesce(extract(epoch FROM clock_timestamp() - c.at)::float8, 0) AS seconds_since_change,
           coalesce(t.last_used_at < now() - interval '1 minute', true)
               AND current_setting('transaction_read_only') = 'off' AS unused,
           coalesce(t.expires_at < now() + interval '14 days', false) AS ends_soon
    FROM api_tokens t LEFT JOIN token_changes c ON c.token_id = t.id
    WHERE t.token_sha256 = :hash AND t.revoked_at IS NULL AND coalesce(t.expires_at > now(), true)
""")

# Not if somebody holds the row: a revocation that was left open in psql hangs nobody.
TOUCH = text("""
    UPDATE api_tokens SET last_used_at = now() WHERE token_sha256 = (
        SELECT token_sha256 FROM api_tokens WHERE token_sha256 = :hash FOR NO KEY UPDATE SKIP LOCKED)
""")

CREATE = text("""
    INSERT INTO api_tokens (id, token_sha256, business_id, user_id, role, name, expires_at, issued_by)
    VALUES (:id, :hash, :business_id, :user_id, :role, :name, now() + make_interval(days => :days), :issued_by)
""")

NEXT_ID = text("SELECT pg_catalog.nextval(pg_catalog.pg_get_serial_sequence('api_tokens', 'id')::regclass)")


@dataclass(frozen=True)
class Caller:
    business_id: int | None  # None: an operator, who belongs to no business
    user_id: int | None
    role: str
    token_id: int = 0
    allowance: float | None = None  # changes that this token may still make, as of …
    seconds_since_change: float = 0.0  # … so long ago; None: it never made one
    shell: str | None = None  # who asks from the command line, without a token

    @property
    def name(self) -> str:
        """How this caller is named in a job's events."""
        if self.shell is not None:
            return f"shell:{self.shell}"
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


def create_token(
    connection: Connection,
    role: str,
    business_id: int | None,
    user_id: int | None,
    *,
    name: str | None = None,
    days: int | None = None,  # None: it does not expire
    issued_by: str | None = None,
) -> str:
    """A new token, `lh_<id>_<secret>`, which is told this once and never stored."""
    token_id = connection.execute(NEXT_ID).scalar_one()
    token = f"lh_{token_id}_{secrets.token_urlsafe(32)}"
    values = {"id": token_id, "hash": _hash(token), "business_id": business_id, "user_id": user_id, "role": role}
    connection.execute(CREATE, {**values, "name": name, "days": days, "issued_by": issued_by})
    return token


def name_token(connection: Connection, caller: Caller) -> None:
    """The events of this transaction name the caller's token."""
    connection.execute(text("SELECT set_config('longhaul.token', :id, true)"), {"id": str(caller.token_id)})


def bearer_token(authorization: str | None) -> str | None:
    """The token in a request's Authorization header."""
    scheme, _, token = (authorization or "").partition(" ")
    return (token.strip() or None) if scheme.lower() == "bearer" else None


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


class KnownTokens:
    """Those that were found to be good by this process lately, by their hashes."""

    MOST = 10_000

    def __init__(self) -> None:
        self._hashes: dict[bytes, None] = {}

    def has(self, token: str) -> bool:
        return _hash(token) in self._hashes

    def add(self, hashed: bytes) -> None:
        if len(self._hashes) >= self.MOST:
            self._hashes.clear()
        self._hashes[hashed] = None

    def forget(self, hashed: bytes) -> None:
        self._hashes.pop(hashed, None)


known_tokens = KnownTokens()  # of this process


class Authentication:
    """Falcon middleware: 401 for every resource that does not say `open = True`; else `request.context.caller`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def process_resource(self, request: falcon.Request, response: falcon.Response, resource: Any, _params: Any) -> None:
        if not getattr(resource, "open", False):
            request.context.caller = self._caller(request, response)

    def _caller(self, request: falcon.Request, response: falcon.Response) -> Caller:
        token = bearer_token(request.auth)
        if token is None:
            raise self._refused("Send the header Authorization: Bearer <token>")
        hashed = _hash(token)
        with reading(self._engine) as connection:
            row = connection.execute(FIND, {"hash": hashed}).one_or_none()
        if row is None:
            known_tokens.forget(hashed)
            raise self._refused("This token is not known, has expired, or has been revoked")
        known_tokens.add(hashed)
        if row.unused:
            self._touch(hashed)
        if row.ends_soon:
            response.set_header("X-Token-Expires", row.expires_at.isoformat())
        return Caller(row.business_id, row.user_id, row.role, row.id, row.allowance, row.seconds_since_change)

    def _touch(self, hashed: bytes) -> None:
        """Notes the use of a token; a database that can't be written is no reason not to read it."""
        try:
            with self._engine.begin() as connection:
                connection.execute(TOUCH, {"hash": hashed})
        except DBAPIError as error:
            log.warning("token.not_touched", error=describe(error))

    @staticmethod
    def _refused(error: str) -> ApiError:
        return ApiError(401, "unauthorized", error, headers={"WWW-Authenticate": "Bearer"})
