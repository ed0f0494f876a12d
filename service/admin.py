"""What only an operator may ask, for any business."""

import falcon
from sqlalchemy import Engine, text

from actors.runtime.config import Settings
from service.auth import Caller, name_token
from service.errors import not_found
from service.jobs import show
from service.openapi import Nothing, Success, answers, api, parse_id
from service.rates import spend_change

BUSINESS = text("SELECT id FROM businesses WHERE id = :business_id")

# Locked first: a job that ends meanwhile is none that is stuck.
RESET = text("""
    WITH running AS MATERIALIZED (
        SELECT id FROM background_jobs WHERE business_id = :business_id AND status = 'running' ORDER BY id FOR UPDATE)
    SELECT (public.reset_job(id, CAST(:who AS text))).id FROM running
""")


class Reset(Success):
    message: str
    reset_count: int


class ResetProgress:
    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings = engine, settings

    @api.validate(query=Nothing, resp=answers(Reset, 404))
    def on_post(self, request: falcon.Request, response: falcon.Response, business_id: str) -> None:
        """Takes all running jobs of a business from their workers; they fail, or become what was asked of them"""
        number = parse_id(business_id, "business id")
        request.get_media(default_when_empty=None)  # needs none; one that is no JSON is refused all the same
        caller: Caller = request.context.caller
        caller.require(())
        values = {"business_id": number, "who": caller.name}
        with self._engine.begin() as connection:
            if connection.execute(BUSINESS, values).scalar() is None:
                raise not_found(f"Business {number}")
            name_token(connection, caller)
            count = len(connection.execute(RESET, values).all())
            if count:
                spend_change(connection, caller, self._settings)
        show(response, message=f"Successfully reset {count} stuck run{'' if count == 1 else 's'}", reset_count=count)
