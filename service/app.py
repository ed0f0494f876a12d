"""create_app(): the service as a WSGI application."""

import sys
from typing import Any

import falcon
import falcon.media

from actors.runtime.base.config import Settings, load_settings
from actors.runtime.base.errors import LonghaulError
from actors.runtime.base.log import set_up_logging
from actors.runtime.base.streams import open_standard_streams, print_without_waiting
from actors.runtime.jobs.kinds import load_kinds
from service.access_log import AccessLog
from service.auth import Authentication
from service.errors import add_error_handlers
from service.every_response import EveryResponse
from service.json_handler import JSON_HANDLER
from service.openapi import spec
from service.rate_limits import Rates
from service.request_body import BodyLimits
from sql.engine import make_engine


def create_app(settings: Settings | None = None) -> "falcon.App[Any, Any]":
    """The WSGI application; exits with a sentence if the environment or a kind of job is invalid."""
    try:
        if settings is None:
            open_standard_streams()
            settings = load_settings()
            set_up_logging(settings.LOG_FORMAT)
            print_without_waiting()
        for kind in load_kinds().values():
            kind.check(settings)
    except LonghaulError as error:
        sys.exit(str(error))
    engine = make_engine(settings.DATABASE_URL, application_name="longhaul web")

    rates = Rates(settings)
    middleware: list[Any] = [
        AccessLog(),
        EveryResponse(),
        Authentication(engine, settings),
        rates,
        BodyLimits(),
    ]
    app = falcon.App(middleware=middleware)
    app.req_options.media_handlers[falcon.MEDIA_JSON] = JSON_HANDLER
    app.resp_options.media_handlers[falcon.MEDIA_JSON] = JSON_HANDLER
    add_error_handlers(app)

    # Only once the kinds are known to be valid: these modules depend on them.
    from service.routes import add_routes

    add_routes(app, engine, settings, rates)
    spec.register(app)
    return app
