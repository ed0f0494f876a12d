"""Starting a job in the caller's transaction: one active at a time, not too soon, counted, and with its message."""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from actors.runtime.base.config import Settings
from actors.runtime.base.errors import LonghaulError
from actors.runtime.base.failures import is_timeout
from actors.runtime.jobs.kinds import Kind, Start
from actors.runtime.jobs.params import Params, read_only, sentence, sentences

COUNT_SECONDS = 1  # if counting takes longer, the worker counts instead

# Starts of one business wait for each other here, so that no race gets past the cooldown or the active job.
LOCK_BUSINESS = text("SELECT id FROM businesses WHERE id = :business_id FOR NO KEY UPDATE")

ACTIVE = text("""
    SELECT id FROM background_jobs
    WHERE business_id = :business_id AND job_type = ANY (:types) AND key = :key
      AND status IN ('queued', 'running', 'paused')
    ORDER BY id LIMIT 1
""")

SECONDS_TO_WAIT = text("""
    SELECT ceil(:limit - extract(epoch FROM clock_timestamp() - max(created_at)))::bigint
    FROM background_jobs WHERE business_id = :business_id AND job_type = ANY (:types) AND key = :key
""")

START = text("""
    SELECT id FROM public.start_job(
        CAST(:business_id AS bigint), CAST(:type AS text), CAST(:queue AS text), CAST(:params AS jsonb),
        CAST(:total AS bigint), CAST(:user_id AS bigint), CAST(:who AS text), CAST(:key AS text))
""")


class ParamsError(LonghaulError):
    """The params of a start are invalid. `fields`: what is wrong with each, where that can be told."""

    def __init__(self, error: str, fields: dict[str, str] | None = None) -> None:
        super().__init__(error)
        self.fields = fields or {}


class JobActiveError(LonghaulError):
    """Another job of this kind is active for the same business and key."""

    def __init__(self, kind: Kind, job_id: int) -> None:
        super().__init__(f"Job {job_id} of the kind {kind.name} is already active")
        self.job_id = job_id


class TooSoonError(LonghaulError):
    """The cooldown of this kind is not over."""

    def __init__(self, kind: Kind, limit: int, seconds: int) -> None:
        super().__init__(f"A job of the kind {kind.name} was started less than {limit} s ago; try again in {seconds} s")
        self.seconds = seconds


@dataclass(frozen=True)
class Started:
    job_id: int
    total: int | None


def read_params(kind: Kind, given: dict[str, Any]) -> Params:
    """ParamsError with a sentence if the kind can't use them."""
    if found := read_only(kind.params) & given.keys():
        raise ParamsError(f"Unknown field {min(found)!r}")
    try:
        return kind.params.model_validate(given)
    except ValidationError as error:
        raise ParamsError(sentence(error), sentences(error)) from None


def start(
    connection: Connection,
    kind: Kind,
    settings: Settings,
    business_id: int,
    params: Params,
    *,
    who: str,
    user_id: int | None = None,
) -> Started:
    """JobActiveError, TooSoonError, RefusedError or MissingError if it can't be started.

    IntegrityError (see `is_second`) if another job has just been resumed, or started in psql, and is active now.
    """
    connection.execute(LOCK_BUSINESS, {"business_id": business_id})
    begun = Start(connection, business_id, settings)
    if kind.complete is not None:
        params = kind.complete(begun, params)
    scope = {"business_id": business_id, "types": list(kind.names), "key": kind.key(params)}
    active = connection.execute(ACTIVE, scope).scalar()
    if active is not None:
        raise JobActiveError(kind, active)
    _refuse_too_soon(connection, kind, settings, scope)
    params, total = _measure(begun, kind, params)
    values = {"type": kind.name, "queue": kind.queue, "params": params.model_dump_json(), "total": total}
    job_id = connection.execute(START, {**scope, **values, "user_id": user_id, "who": who}).scalar_one()
    return Started(job_id, total)


def is_second(error: DBAPIError) -> bool:
    """Was there another active job of the business, type and key already?"""
    constraint = error.orig.diag.constraint_name if error.orig else None  # type: ignore[attr-defined]
    return bool(constraint == "idx_background_jobs_unique_active")


def _refuse_too_soon(connection: Connection, kind: Kind, settings: Settings, scope: dict[str, Any]) -> None:
    limit = kind.setting(settings, "COOLDOWN_SECONDS")
    if not limit:
        return
    seconds = connection.execute(SECONDS_TO_WAIT, {**scope, "limit": limit}).scalar()
    if seconds is not None and seconds > 0:
        raise TooSoonError(kind, limit, seconds)


def _measure(begun: Start, kind: Kind, params: Params) -> tuple[Params, int | None]:
    """The params with what the kind fixes at the start, and the number of items. None if counting them takes too long:
    a caller waits for the response.
    """
    if kind.prepare is not None:
        params = kind.prepare(begun, params)
    if kind.count is None:
        return params, None
    savepoint = begun.connection.begin_nested()
    try:
        begun.connection.execute(text(f"SET LOCAL statement_timeout = '{COUNT_SECONDS}s'"))
        return params, kind.count(begun, params)
    except DBAPIError as error:
        if not is_timeout(error):
            raise
        return params, None
    finally:
        savepoint.rollback()  # which also undoes the short timeout
