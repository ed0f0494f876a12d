"""Authentication by token or session, of which only hashes are stored."""

import secrets
from typing import Any

import falcon
import structlog
from sqlalchemy import Connection, Engine, text

from actors.runtime.base.config import Settings
from service.caller import Caller
from service.credentials import Credential, cookie_name, credential, hash_of, known_credentials
from service.errors import ApiError
from service.look_ups import LookUps
from service.same_origin import SAFE_METHODS, require_our_page
from service.task import LOOKED_UP

log = structlog.get_logger("longhaul.auth")

CREATE = text("""
    INSERT INTO api_tokens (id, token_sha256, business_id, user_id, role, name, expires_at, issued_by)
    VALUES (:id, :hash, :business_id, :user_id, :role, :name, now() + pg_catalog.make_interval(days => :days),
            :issued_by)
""")

NEXT_ID = text("SELECT pg_catalog.nextval(pg_catalog.pg_get_serial_sequence('api_tokens', 'id')::regclass)")


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
    """A new token, `lh_<id>_<secret>`, which is shown only once and never stored."""
    token_id = connection.execute(NEXT_ID).scalar_one()
    token = f"lh_{token_id}_{secrets.token_urlsafe(32)}"
    values = {"id": token_id, "hash": hash_of(token), "business_id": business_id, "user_id": user_id, "role": role}
    connection.execute(CREATE, {**values, "name": name, "days": days, "issued_by": issued_by})
    return token


class Authentication:
    """Falcon middleware: sets `request.context.caller`, or 401; skipped if the resource sets `open = True`.

    If the resource sets `is_polled = True`, a credential that was valid within the last second is not looked up to read
    it.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._look_ups = LookUps(engine)
        known_credentials.look_up = self._look_ups.find_all
        self._settings = settings
        self._cookie = cookie_name(settings)

    def process_resource(self, request: falcon.Request, response: falcon.Response, resource: Any, _params: Any) -> None:
        if not getattr(resource, "open", False):
            is_poll = getattr(resource, "is_polled", False) and request.method in SAFE_METHODS
            request.context.caller = self._caller(request, response, is_poll=is_poll)

    def identify(self, request: falcon.Request) -> Caller | None:
        """The caller, by token or cookie; None if the request has neither, or an invalid one."""
        shown = credential(request.auth, request.get_header("Cookie"), self._cookie)
        row = None if shown is None else self._look_ups.find(shown, looked_up=request.env.get(LOOKED_UP))
        return None if row is None else _caller_of(row)

    def by_token(self, token: str) -> Caller:
        """The token's caller; 401 if the token is invalid."""
        row = self._look_ups.find(Credential(hash_of(token), is_session=False))
        if row is None:
            raise refused("This token is unknown, has expired or has been revoked")
        return _caller_of(row)

    def _caller(self, request: falcon.Request, response: falcon.Response, *, is_poll: bool) -> Caller:
        shown = credential(request.auth, request.get_header("Cookie"), self._cookie)
        if shown is None:
            raise refused("Send the header Authorization: Bearer <token>")
        row = self._look_ups.find(shown, is_poll=is_poll, looked_up=request.env.get(LOOKED_UP))
        if row is None and shown.is_session:
            raise refused("This session has ended; sign in again")
        if row is None:
            raise refused("This token is unknown, has expired or has been revoked")
        if shown.is_session:
            require_our_page(request, row.id, self._settings)
        if row.ends_soon:
            response.set_header("X-Token-Expires", row.token_expires_at.isoformat())
        return _caller_of(row)


def refused(error: str) -> ApiError:
    return ApiError(401, "unauthorized", error, headers={"WWW-Authenticate": "Bearer"})


def _caller_of(row: Any) -> Caller:
    return Caller(
        row.business_id,
        row.user_id,
        row.role,
        row.id,
        row.allowance,
        row.seconds_since_change,
        session_id=row.session_id,
        expires_at=row.expires_at,
    )
