"""What a platform asks: does the process live, and can it serve?"""

import falcon
from pydantic import BaseModel
from spectree import Response
from sqlalchemy import Engine

from service.errors import ApiError
from service.jobs import show
from service.openapi import Failure, Success, api
from sql.release import expected_version, schema_version


class Healthy(Success):
    pass


class Start(Success):
    docs: str
    openapi: str


def _open_answers(success: type[BaseModel], *failures: int) -> Response:
    return Response(HTTP_200=success, HTTP_400=Failure, **{f"HTTP_{code}": Failure for code in failures})


class Root:
    """Where a newcomer who opens the address finds more."""

    open = True

    @api.validate(resp=_open_answers(Start), security=[])
    def on_get(self, _request: falcon.Request, response: falcon.Response) -> None:
        """Where the API is described"""
        show(response, docs="/api/docs", openapi="/api/openapi.json")


class Ready(Success):
    schema_version: str


class Health:
    open = True

    @api.validate(resp=_open_answers(Healthy), security=[])
    def on_get(self, _request: falcon.Request, response: falcon.Response) -> None:
        """This process answers"""
        show(response)


class Readiness:
    open = True

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @api.validate(resp=_open_answers(Ready, 503), security=[])
    def on_get(self, _request: falcon.Request, response: falcon.Response) -> None:
        """Postgres can be used, and has this release's schema or a newer one"""
        with self._engine.connect() as connection:
            found, expected = schema_version(connection), expected_version()
        if found is None or found < expected:
            raise ApiError(
                503,
                "schema_too_old",
                f"Found the database at version {found}, expected {expected}: run the release command",
            )
        show(response, schema_version=found)
