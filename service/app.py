"""create_app(): every address of the service, on one screen."""

import sys
from typing import Any

import falcon
import falcon.media

from actors.runtime.config import Settings, load_settings
from actors.runtime.errors import ConfigError
from actors.runtime.log import set_up_logging
from actors.runtime.streams import open_standard_streams, print_without_waiting
from service.access_log import AccessLog
from service.admin import ResetProgress
from service.auth import Authentication
from service.delete_jobs import DeleteAllReceipts, DeleteJob
from service.errors import add_error_handlers
from service.jobs import JobCollection, JobEvents, JobItem, Jobs, JobVerb
from service.json import JSON_HANDLER
from service.limits import BodyLimits, Limits
from service.openapi import Docs, Document, api
from service.operations import Health, Readiness, Root
from service.rates import Rates
from service.receipts import ReceiptCollection
from sql.engine import make_engine


def create_app(settings: Settings | None = None) -> "falcon.App[Any, Any]":
    """The WSGI application; exits with a sentence when the environment is not usable."""
    if settings is None:
        open_standard_streams()
        try:
            settings = load_settings()
        except ConfigError as error:
            sys.exit(str(error))
        set_up_logging(settings.LOG_FORMAT)
        print_without_waiting()
    engine = make_engine(settings.DATABASE_URL, application_name="longhaul web")
    jobs = Jobs(engine, settings)

    middleware: list[Any] = [AccessLog(), Limits(), Authentication(engine), Rates(settings), BodyLimits()]
    app = falcon.App(middleware=middleware)
    app.req_options.media_handlers[falcon.MEDIA_JSON] = JSON_HANDLER
    app.resp_options.media_handlers[falcon.MEDIA_JSON] = JSON_HANDLER
    add_error_handlers(app)

    app.add_route("/", Root())
    app.add_route("/healthz", Health())
    app.add_route("/readyz", Readiness(engine))
    app.add_route("/api/openapi.json", Document())
    app.add_route("/api/docs", Docs())
    app.add_route("/api/receipts", ReceiptCollection(engine))
    app.add_route("/api/receipts/delete_all", DeleteAllReceipts(jobs))
    app.add_route("/api/receipts/delete-job/status", DeleteJob(jobs))
    app.add_route("/api/admin/business/{business_id}/reset-progress", ResetProgress(engine, settings))
    app.add_route("/api/jobs", JobCollection(jobs))
    for prefix in ("/api/jobs", "/api/receipts/jobs"):
        app.add_route(f"{prefix}/{{job_id}}", JobItem(jobs))
        app.add_route(f"{prefix}/{{job_id}}/events", JobEvents(jobs))
        app.add_route(f"{prefix}/{{job_id}}/pause", JobVerb(jobs, "pause"))
        app.add_route(f"{prefix}/{{job_id}}/cancel", JobVerb(jobs, "cancel"))
        app.add_route(f"{prefix}/{{job_id}}/resume", JobVerb(jobs, "resume"))

    api.register(app)
    return app
