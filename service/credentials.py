"""A request's credential: a token in its Authorization header, or a session in its cookie."""

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from actors.runtime.base.config import Settings

COOKIE = "longhaul_session"


class Credential(NamedTuple):
    """Only its hash is ever looked up, kept or compared."""

    hashed: bytes
    is_session: bool


def hash_of(secret: str) -> bytes:
    """A fast hash is enough: tokens and session ids are 256 random bits."""
    return hashlib.sha256(secret.encode()).digest()


def is_secure(settings: Settings) -> bool:
    """Do browsers reach the page over TLS?"""
    return (settings.PUBLIC_URL or "").startswith("https://")


def cookie_name(settings: Settings) -> str:
    """Over TLS, with a prefix: browsers then accept the cookie only from this host and over TLS."""
    return f"__Host-{COOKIE}" if is_secure(settings) else COOKIE


def bearer_token(authorization: str | None) -> str | None:
    """The token in a request's Authorization header."""
    scheme, _, token = (authorization or "").partition(" ")
    return (token.strip() or None) if scheme.lower() == "bearer" else None


def session_id(cookies: str | None, name: str) -> str | None:
    """The value of this cookie in a request's Cookie header. By a pattern: there may be thousands of others."""
    found = re.search(rf"(?:^|;)\s*{re.escape(name)}=([^;]*)", cookies or "")
    return None if found is None else found[1].rstrip() or None


def credential(authorization: str | None, cookies: str | None, name: str) -> Credential | None:
    """A request's credential; if it has both a token and a cookie, the token counts."""
    if token := bearer_token(authorization):
        return Credential(hash_of(token), is_session=False)
    if session := session_id(cookies, name):
        return Credential(hash_of(session), is_session=True)
    return None


class LookedUp(NamedTuple):
    """What a request's credential was found to be before the request got its thread."""

    shown: Credential
    row: Any  # None: it is not valid
    at: float  # time.monotonic() before it was looked up


class Owner(NamedTuple):
    """The token behind a credential, and its business; None for an operator's."""

    token_id: int
    business_id: int | None


class KnownCredentials:
    """Credentials that this process recently found valid: hash → owner."""

    MOST = 10_000

    def __init__(self) -> None:
        self._owners: dict[bytes, Owner] = {}
        # Asks Postgres for those that are not known, and adds them here; None before there is an application.
        self.look_up: Callable[[Collection[Credential]], Mapping[Credential, Any]] | None = None

    def owner_of(self, hashed: bytes) -> Owner | None:
        return self._owners.get(hashed)

    def add(self, hashed: bytes, owner: Owner) -> None:
        if len(self._owners) >= self.MOST:
            self._owners.clear()
        self._owners[hashed] = owner

    def forget(self, hashed: bytes) -> None:
        self._owners.pop(hashed, None)


known_credentials = KnownCredentials()  # of this process
