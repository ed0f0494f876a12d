"""Calls for operators only, for any business."""

import falcon
import structlog
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from actors.runtime.base.config import Settings
from actors.runtime.base.failures import describe, is_data
from service.caller import Caller, name_token
from service.errors import not_found
from service.jobs import reply
from service.openapi import NoQuery, Success, parse_id, responses, spec
from service.rate_limits import spend_change

log = structlog.get_logger("longhaul.http")

BUSINESS = text("SELECT id FROM businesses WHERE id = :business_id")

# Locked first: a job that ends in the meantime is not stuck.
RUNNING = text("""
    SELECT id FROM background_jobs WHERE business_id = :business_id AND status = 'running' ORDER BY id FOR UPDATE
""")
RESET = text("SELECT id FROM public.reset_job(CAST(:job_id AS bigint), CAST(:who AS text))")


class Reset(Success):
    message: str
    reset_count: int


class ResetProgress:
    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings = engine, settings

    @spec.validate(query=NoQuery, resp=responses(Reset, 404))
    def on_post(self, request: falcon.Request, response: falcon.Response, business_id: str) -> None:
        """Takes all running jobs of a business from their workers; they fail, or end as a user has requested"""
        number = parse_id(business_id, "business id")
        request.get_media(default_when_empty=None)  # needs no body; one that is not JSON is still refused
        caller: Caller = request.context.caller
        caller.require(())
        values = {"business_id": number, "who": caller.name}
        with self._engine.begin() as connection:
            if connection.execute(BUSINESS, values).scalar() is None:
                raise not_found(f"Business {number}")
            name_token(connection, caller)
            jobs = connection.scalars(RUNNING, values).all()
            count = sum(_reset(connection, job_id, caller.name) for job_id in jobs)
            if count:
                spend_change(connection, caller, self._settings)
        message = f"Successfully reset {count} stuck run{'' if count == 1 else 's'}"
        if count < len(jobs):
            message += f"; {len(jobs) - count} could not be moved"
        reply(response, message=message, reset_count=count)


def _reset(connection: Connection, job_id: int, who: str) -> bool:
    """False if nothing can move this job (e.g. a trigger raises): it must not block the reset of the others."""
    try:
        with connection.begin_nested():
            connection.execute(RESET, {"job_id": job_id, "who": who})
    except DBAPIError as error:
        if not is_data(error):
            raise
        log.warning("job.not_reset", job_id=job_id, error=describe(error))
        return False
    return True
