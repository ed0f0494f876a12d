"""Whose is this token, or this session? Asked for each request; those that come at once are looked up at once."""

import time
from collections.abc import Collection, Mapping, Sequence
from threading import Lock
from typing import Any

import structlog
from sqlalchemy import Engine, TextClause, text
from sqlalchemy.exc import DBAPIError

from actors.runtime.base.failures import describe
from service.credentials import Credential, LookedUp, Owner, known_credentials
from service.gathered import Gathered
from sql.engine import reading

log = structlog.get_logger("longhaul.auth")

CALLER = """
    t.id, t.business_id, t.user_id, t.role, c.allowance,
    coalesce(extract(epoch FROM clock_timestamp() - c.at)::float8, 0) AS seconds_since_change,
    coalesce(t.last_used_at < now() - interval '1 minute', true)
        AND current_setting('transaction_read_only') = 'off' AS unused,
    t.expires_at AS token_expires_at, coalesce(t.expires_at < now() + interval '14 days', false) AS ends_soon
"""
JUST_NOW_SECONDS = 0.1  # since the request itself had its credential looked up, and waited for its thread
IS_GOOD = "t.revoked_at IS NULL AND coalesce(t.expires_at > now(), true)"

# By hash: the time this takes reveals nothing about any token or session.
FIND_TOKENS = text(f"""
    SELECT {CALLER}, NULL::bigint AS session_id, t.expires_at, t.token_sha256 AS hash
    FROM api_tokens t LEFT JOIN token_changes c ON c.token_id = t.id
    WHERE t.token_sha256 = ANY (CAST(:hashes AS bytea[])) AND {IS_GOOD}
""")  # noqa: S608 - constants
FIND_SESSIONS = text(f"""
    SELECT {CALLER}, s.id AS session_id, least(s.expires_at, t.expires_at) AS expires_at, s.session_sha256 AS hash
    FROM sessions s JOIN api_tokens t ON t.id = s.token_id LEFT JOIN token_changes c ON c.token_id = t.id
    WHERE s.session_sha256 = ANY (CAST(:hashes AS bytea[])) AND s.expires_at > now() AND {IS_GOOD}
""")  # noqa: S608 - constants

# Skipped if the row is locked: a revocation left open in psql must not hang requests.
TOUCH = text("""
    UPDATE api_tokens SET last_used_at = now() WHERE token_sha256 = (
        SELECT token_sha256 FROM api_tokens WHERE id = :id FOR NO KEY UPDATE SKIP LOCKED)
""")


class Lately:
    """What was found within the last second, for polls: a revocation or signing out ends them within a second.

    A look-up also looks up again what is in use; otherwise each of a thousand pages would need one of its own.
    """

    SECONDS = 1.0
    IN_USE_SECONDS = 2.0  # a page polls every 1.5 s
    MOST = 1_000

    def __init__(self) -> None:
        self._found: dict[bytes, tuple[float, Any]] = {}  # when its look-up began, and its row
        self._used: dict[bytes, float] = {}
        self._renewed_at = float("-inf")
        self._lock = Lock()

    def get(self, hashed: bytes) -> Any:
        now = time.monotonic()
        with self._lock:
            at, row = self._found.get(hashed, (0.0, None))
            if row is not None:
                self._used[hashed] = now
        return None if row is None or row.unused or now - at >= self.SECONDS else row

    def to_renew(self, now: float) -> list[bytes]:
        """Those in use, twice a second at most; what is not in use any more is forgotten."""
        with self._lock:
            if now - self._renewed_at < self.SECONDS / 2:
                return []
            self._renewed_at = now
            used = [(hashed, at) for hashed, at in self._used.items() if now - at < self.IN_USE_SECONDS][: self.MOST]
            self._found = {hashed: self._found[hashed] for hashed, _ in used if hashed in self._found}
            self._used = dict(used)
            return list(self._used)

    def add(self, asked: Collection[bytes], rows: Mapping[bytes, Any], began: float) -> None:
        with self._lock:
            for hashed in asked:
                self._found.pop(hashed, None)
            for hashed, row in rows.items():
                self._found[hashed] = (began, row)
                self._used.setdefault(hashed, began)


class _Finder:
    """Of one kind of credential."""

    def __init__(self, engine: Engine, find: TextClause) -> None:
        self.lately = Lately()

        def look(hashes: Sequence[bytes]) -> dict[bytes, Any]:
            began = time.monotonic()
            asked = {*hashes, *self.lately.to_renew(began)}
            with reading(engine) as connection:
                rows = {bytes(row.hash): row for row in connection.execute(find, {"hashes": list(asked)})}
            self.lately.add(asked, rows, began)
            return rows

        self.look = look
        self.now = Gathered(look)


class LookUps:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tokens = _Finder(engine, FIND_TOKENS)
        self._sessions = _Finder(engine, FIND_SESSIONS)

    def find(self, shown: Credential, *, is_poll: bool = False, looked_up: LookedUp | None = None) -> Any:
        """The token's row; None if the credential is invalid. For a poll, as it was within the last second; and for a
        request that had its own credential looked up just now, as that found it.
        """
        finder = self._finder(shown)
        if is_poll and (row := finder.lately.get(shown.hashed)) is not None:
            return row
        if (
            looked_up is not None
            and looked_up.shown == shown
            and (looked_up.row is None or time.monotonic() - looked_up.at < JUST_NOW_SECONDS)
        ):
            row = looked_up.row
        else:
            row = finder.now.get(shown.hashed)
        self._note(shown, row)
        if row is not None and row.unused:
            self._touch(row.id)
        return row

    def find_all(self, shown: Collection[Credential]) -> dict[Credential, Any]:
        """The rows of those that are valid; that they are used is recorded by whoever then finds them."""
        found: dict[Credential, Any] = {}
        for finder in (self._tokens, self._sessions):
            asked = {one.hashed: one for one in shown if self._finder(one) is finder}
            rows = finder.look(list(asked)) if asked else {}
            found |= {asked[hashed]: row for hashed, row in rows.items() if hashed in asked}
        for one in shown:
            self._note(one, found.get(one))
        return found

    def _finder(self, shown: Credential) -> _Finder:
        return self._sessions if shown.is_session else self._tokens

    def _note(self, shown: Credential, row: Any) -> None:
        if row is None:
            known_credentials.forget(shown.hashed)
        else:
            known_credentials.add(shown.hashed, Owner(row.id, row.business_id))

    def _touch(self, token_id: int) -> None:
        """Records the use of a token; the request goes on even if the database can't be written."""
        try:
            with self._engine.begin() as connection:
                connection.execute(TOUCH, {"id": token_id})
        except DBAPIError as error:
            log.warning("token.not_touched", error=describe(error))
