"""Rate limits per token: changes that took effect are counted in Postgres, requests in each web process."""

import math
import time
from threading import Lock
from typing import Any

import falcon
from sqlalchemy import Connection, text

from actors.runtime.base.config import Settings
from service.caller import Caller
from service.errors import ApiError
from service.task import IS_TOO_MANY

SPEND = text("""
    INSERT INTO token_changes AS c (token_id, allowance, at) VALUES (:id, CAST(:most AS float8) - 1, clock_timestamp())
    ON CONFLICT (token_id) DO UPDATE SET at = clock_timestamp(),
        allowance = least(CAST(:most AS float8),
                          c.allowance + :per_second * extract(epoch FROM clock_timestamp() - c.at)::float8) - 1
""")

MAX_TOKENS = 10_000  # whose requests a process remembers


def spend_change(connection: Connection, caller: Caller, settings: Settings) -> None:
    """Called in the transaction of a change that took effect: a rollback or a change of nothing costs nothing."""
    if settings.CHANGES_AT_ONCE:
        values = {"id": caller.token_id, "most": settings.CHANGES_AT_ONCE, "per_second": settings.CHANGES_PER_SECOND}
        connection.execute(SPEND, values)


def refuse_changes(caller: Caller, settings: Settings) -> None:
    """429 if the caller's token has used up its changes for now."""
    most, per_second = settings.CHANGES_AT_ONCE, settings.CHANGES_PER_SECOND
    if not most or caller.allowance is None:
        return
    left = min(float(most), caller.allowance + per_second * caller.seconds_since_change)
    if left < 1:
        seconds = math.ceil((1 - left) / per_second)
        raise _too_many(f"Found more than {most} changes at once, or {per_second} a second", seconds)


class Rates:
    """Falcon middleware, after Authentication: 429 for a token that sends too many requests."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._reads: dict[int, tuple[float, float]] = {}  # token → requests left, and when that was counted

    def process_resource(
        self, request: falcon.Request, _response: falcon.Response, _resource: Any, _params: Any
    ) -> None:
        caller: Caller | None = getattr(request.context, "caller", None)
        if caller is not None:
            self.refuse(request, caller)

    def refuse(self, request: falcon.Request, caller: Caller) -> None:
        """For a resource that is open, once it knows its caller."""
        self.refuse_flood(request, caller)
        if request.method != "GET":
            refuse_changes(caller, self._settings)

    def refuse_flood(self, request: falcon.Request, caller: Caller) -> None:
        """Whatever the requests do: signing out is a change that must always be possible."""
        with self._lock:
            self._count(caller.token_id)
        if request.env.get(IS_TOO_MANY):
            raise _too_many(f"Found more than {self._settings.REQUESTS_AT_ONCE} requests of this token at once", 1)

    def _count(self, token_id: int) -> None:
        most = self._settings.READS_PER_SECOND
        if not most:
            return
        now = time.monotonic()
        left, at = self._reads.get(token_id, (float(most), now))
        left = min(float(most), left + most * (now - at))
        if left < 1:
            raise _too_many(f"Found more than {most} requests a second", 1)
        if len(self._reads) >= MAX_TOKENS:
            self._reads.clear()
        self._reads[token_id] = (left - 1, now)


def _too_many(found: str, seconds: int) -> ApiError:
    return ApiError(
        429,
        "too_many_requests",
        f"{found}; try again in {seconds} s",
        headers={"Retry-After": str(seconds)},
        retry_after=seconds,
    )
