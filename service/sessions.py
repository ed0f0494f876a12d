"""Signing in to the page: a token is sent once; from then on, a cookie that no script can read identifies the user.

A session lasts 12 hours, but no longer than its token.
"""

import secrets
from datetime import UTC, datetime
from typing import Annotated, Any

import falcon
from pydantic import BeforeValidator, Field
from sqlalchemy import Connection, Engine, text

from actors.runtime.base.config import Settings
from service.auth import Authentication, refused
from service.caller import Caller
from service.credentials import cookie_name, hash_of, is_secure, session_id
from service.openapi import Input, NoQuery, Success, open_responses, spec
from service.rate_limits import Rates, spend_change
from service.same_origin import comes_from_a_browser, require_same_origin

HOURS = 12
MOST = 50  # of a token; the oldest goes first
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)  # a cookie that expired then is deleted

BEGIN = text("""
    INSERT INTO sessions (session_sha256, token_id, expires_at)
    SELECT :hash, id, least(now() + pg_catalog.make_interval(hours => :hours), expires_at)
    FROM api_tokens WHERE id = :token_id
    RETURNING expires_at
""")
END_OLDEST = text("""
    DELETE FROM sessions WHERE session_sha256 IN (
        SELECT session_sha256 FROM sessions WHERE token_id = :token_id ORDER BY created_at DESC, id DESC OFFSET :most)
""")
END = text("DELETE FROM sessions WHERE session_sha256 = :hash")

# All sessions of the same user of the same business, with any of their tokens; or of one token without a user.
END_ALL = text("""
    DELETE FROM sessions WHERE token_id = :token_id OR token_id IN (
        SELECT id FROM api_tokens
        WHERE user_id = CAST(:user_id AS bigint) AND business_id IS NOT DISTINCT FROM CAST(:business_id AS bigint))
""")
BUSINESS = text("SELECT name FROM businesses WHERE id = :business_id")


def _token(value: Any) -> Any:
    """Errors never repeat the token."""
    if not isinstance(value, str) or not 0 < len(value.strip()) <= 200 or not value.isascii():
        raise ValueError("Found a token that is not text of 1 to 200 ASCII characters")
    return value.strip()


class SignIn(Input):
    token: Annotated[str, BeforeValidator(_token)]


class SignOut(Input):
    everywhere: bool = Field(default=False, description="end all sessions of this user, including other browsers")


class Session(Success):
    signed_in: bool
    business_id: int | None = Field(description="null: an operator, for all businesses")
    business_name: str | None
    role: str | None
    user_id: int | None
    token_id: int | None
    expires_at: datetime | None = Field(description="when the session ends, or the token; null: never")


NOBODY = dict.fromkeys(Session.model_fields) | {"success": True, "signed_in": False}


class Sessions:
    """Open to all: it says whether anybody is signed in. Whoever is has the limits of every other call."""

    open = True
    max_body_bytes = 1024

    def __init__(self, engine: Engine, settings: Settings, rates: Rates) -> None:
        self._engine = engine
        self._rates = rates
        self._settings = settings
        self._authentication = Authentication(engine, settings)
        self._cookie = cookie_name(settings)

    @spec.validate(query=NoQuery, resp=open_responses(Session, 429), security=[])
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Who is signed in, if anybody is"""
        caller = self._authentication.identify(request)
        if caller is None:
            response.media = NOBODY
            return
        request.context.caller = caller
        self._rates.refuse(request, caller)
        with self._engine.begin() as connection:
            response.media = _shown(connection, caller, caller.expires_at)

    @spec.validate(query=NoQuery, json=SignIn, resp=open_responses(Session, 401, 403, 413, 415, 429, 503), security=[])
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Signs in with a token; the response sets a cookie, a new one each time"""
        if comes_from_a_browser(request):
            require_same_origin(request, self._settings)
        body: SignIn = request.context.json
        caller = request.context.caller = self._authentication.by_token(body.token)
        self._rates.refuse(request, caller)
        session = secrets.token_urlsafe(32)
        with self._engine.begin() as connection:
            self._end(connection, request)
            values = {"hash": hash_of(session), "token_id": caller.token_id, "hours": HOURS}
            expires_at: datetime = connection.execute(BEGIN, values).scalar_one()
            connection.execute(END_OLDEST, {"token_id": caller.token_id, "most": MOST})
            spend_change(connection, caller, self._settings)
            response.media = _shown(connection, caller, expires_at)
        self._set_cookie(response, session, max_age=max(1, int((expires_at - datetime.now(UTC)).total_seconds())))

    @spec.validate(query=SignOut, resp=open_responses(Session, 401, 403, 413, 415, 429, 503), security=[])
    def on_delete(self, request: falcon.Request, response: falcon.Response) -> None:
        """Signs out, here or everywhere; can be repeated"""
        query: SignOut = request.context.query
        if session_id(request.get_header("Cookie"), self._cookie) or comes_from_a_browser(request):
            require_same_origin(request, self._settings)
        caller = self._authentication.identify(request)
        if caller is not None:
            self._rates.refuse_flood(request, caller)
        if caller is None and query.everywhere:
            raise refused("Nobody is signed in here; sign in again to sign out everywhere")
        with self._engine.begin() as connection:
            self._end(connection, request)
            if caller is not None and query.everywhere:
                request.context.caller = caller
                scope = {"token_id": caller.token_id, "user_id": caller.user_id, "business_id": caller.business_id}
                connection.execute(END_ALL, scope)
        self._set_cookie(response, "", expires=LONG_AGO)
        response.set_header("Clear-Site-Data", '"cache", "storage"')  # "cookies" would also clear our neighbours'
        response.media = NOBODY

    def _end(self, connection: Connection, request: falcon.Request) -> None:
        """The session that this browser had."""
        if session := session_id(request.get_header("Cookie"), self._cookie):
            connection.execute(END, {"hash": hash_of(session)})

    def _set_cookie(self, response: falcon.Response, value: str, **until: Any) -> None:
        response.set_cookie(
            self._cookie,
            value,
            **until,
            path="/",
            secure=is_secure(self._settings),
            http_only=True,
            same_site="Strict",
        )


def _shown(connection: Connection, caller: Caller, expires_at: datetime | None) -> dict[str, Any]:
    name = connection.execute(BUSINESS, {"business_id": caller.business_id}).scalar()
    return {
        "success": True,
        "signed_in": True,
        "business_id": caller.business_id,
        "business_name": name,
        "role": caller.role,
        "user_id": caller.user_id,
        "token_id": caller.token_id,
        "expires_at": expires_at,
    }
