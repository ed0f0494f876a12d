"""Whose is this token, or this session? Asked for each request; those that come at once are looked up at once."""

from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import Engine, TextClause, text
from sqlalchemy.exc import DBAPIError

from actors.runtime.base.failures import describe
from service.credentials import Credential, Owner, known_credentials
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


class LookUps:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tokens = self._gathered(FIND_TOKENS)
        self._sessions = self._gathered(FIND_SESSIONS)

    def find(self, shown: Credential) -> Any:
        """The token's row; None if the credential is invalid."""
        row = (self._sessions if shown.is_session else self._tokens).get(shown.hashed)
        if row is None:
            known_credentials.forget(shown.hashed)
            return None
        known_credentials.add(shown.hashed, Owner(row.id, row.business_id))
        if row.unused:
            self._touch(row.id)
        return row

    def _gathered(self, find: TextClause) -> Gathered[bytes, Any]:
        def look(hashes: Sequence[bytes]) -> dict[bytes, Any]:
            with reading(self._engine) as connection:
                return {bytes(row.hash): row for row in connection.execute(find, {"hashes": list(hashes)})}

        return Gathered(look)

    def _touch(self, token_id: int) -> None:
        """Records the use of a token; the request goes on even if the database can't be written."""
        try:
            with self._engine.begin() as connection:
                connection.execute(TOUCH, {"id": token_id})
        except DBAPIError as error:
            log.warning("token.not_touched", error=describe(error))
