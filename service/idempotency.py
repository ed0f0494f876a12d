"""Idempotency-Key: if a start is sent again because its response was lost, it gets the first response.

Only successful starts are remembered, in their own transaction; a refusal leaves the key free.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import falcon
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from actors.runtime.base.failures import sqlstate
from service.caller import Caller
from service.errors import ApiError, bad_input

MAX_KEY = 255  # characters
HOURS = 24
WAIT_SECONDS = 5  # for the first of two concurrent ones

# Waits for another transaction that has just written the same key. An expired key is replaced.
TAKE = text("""
    INSERT INTO idempotency_keys AS k (business_id, token_id, address, key, request_sha256)
    VALUES (:business_id, :token_id, :address, :key, :sha256)
    ON CONFLICT (business_id, token_id, address, key) DO UPDATE
        SET request_sha256 = excluded.request_sha256, answer = NULL, created_at = now()
        WHERE k.created_at < now() - pg_catalog.make_interval(hours => :hours)
    RETURNING key
""")

FIND = text("""
    SELECT request_sha256, answer FROM idempotency_keys
    WHERE business_id = :business_id AND token_id = :token_id AND address = :address AND key = :key
""")

STORE = text("""
    UPDATE idempotency_keys SET answer = CAST(:answer AS jsonb)
    WHERE business_id = :business_id AND token_id = :token_id AND address = :address AND key = :key
""")


@dataclass(frozen=True)
class Idempotency:
    """One request's key, in its scope: the business, the token and the address."""

    scope: dict[str, Any]
    sha256: bytes

    @classmethod
    def of(cls, request: falcon.Request, caller: Caller, fields: Mapping[str, Any]) -> "Idempotency | None":
        """None without the header. `fields`: the request as parsed."""
        key = request.get_header("Idempotency-Key")
        if key is None:
            return None
        if not 1 <= len(key) <= MAX_KEY or not key.isascii() or not key.isprintable():
            raise bad_input(
                f"Found an Idempotency-Key of {len(key)} characters, expected 1 to {MAX_KEY} printable ASCII characters"
            )
        scope = {"business_id": caller.own_business(), "token_id": caller.token_id, "address": request.path, "key": key}
        return cls(scope, hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).digest())

    def take(self, connection: Connection) -> dict[str, Any] | None:
        """The earlier response, if there is one; then there is nothing else to do."""
        connection.execute(text(f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'"))
        try:
            if connection.execute(TAKE, {**self.scope, "sha256": self.sha256, "hours": HOURS}).one_or_none():
                return None
        except DBAPIError as error:
            if sqlstate(error) != "55P03":
                raise
            raise ApiError(
                409,
                "idempotency_in_progress",
                "A request with this Idempotency-Key is being processed; try again in a second",
                headers={"Retry-After": "1"},
            ) from None
        found = connection.execute(FIND, self.scope).one()
        if bytes(found.request_sha256) != self.sha256:
            raise ApiError(
                422, "idempotency_mismatch", "This Idempotency-Key was used with another request; use a new one"
            )
        answer: dict[str, Any] = found.answer
        return answer

    def store(self, connection: Connection, answer: Mapping[str, Any]) -> None:
        connection.execute(STORE, {**self.scope, "answer": json.dumps(answer)})
