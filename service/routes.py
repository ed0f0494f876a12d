"""Every address of the service, on one screen."""

from typing import Any

import falcon
from sqlalchemy import Engine

from actors.delete_receipts import delete_receipts
from actors.runtime.base.config import Settings
from actors.sync_receipts import sync_receipts
from service.admin import ResetProgress
from service.connections import ConnectionItem, Connections, ConnectionTest
from service.delete_status import DeleteJob
from service.health import Health, Readiness
from service.job_view import Jobs
from service.jobs import JobCollection, JobEvents, JobItem, JobVerb
from service.jobs_health import JobsHealth, WorkerSettings
from service.kinds import Kinds
from service.log_ins import LogIns
from service.openapi import Docs, Document
from service.page.resources import Asset, Page
from service.rate_limits import Rates
from service.receipts import ReceiptCollection, ReceiptCount, ReceiptFile
from service.results import JobResult
from service.sessions import Sessions
from service.start import start_at
from service.sync import SyncMessages, SyncStarts, SyncState
from service.why import JobWhy

StartDeletion = start_at(delete_receipts)
StartSync = start_at(sync_receipts, SyncStarts)


def add_routes(app: "falcon.App[Any, Any]", engine: Engine, settings: Settings, rates: Rates) -> None:
    jobs, log_ins = Jobs(engine, settings), LogIns(engine)

    app.add_route("/", Page())
    app.add_route("/assets/{name}", Asset())
    app.add_route("/healthz", Health())
    app.add_route("/readyz", Readiness(engine))
    app.add_route("/api/openapi.json", Document())
    app.add_route("/api/docs", Docs())
    app.add_route("/api/session", Sessions(engine, settings, rates))
    app.add_route("/api/kinds", Kinds(settings))
    app.add_route("/api/receipts", ReceiptCollection(engine))
    app.add_route("/api/receipts/count", ReceiptCount(engine))
    app.add_route("/api/receipts/{receipt_id}/file", ReceiptFile(engine, settings))
    app.add_route("/api/receipts/delete_all", StartDeletion(jobs))
    app.add_route("/api/receipts/delete-job/status", DeleteJob(jobs))
    app.add_route("/api/receipts/sync", StartSync(jobs))
    app.add_route("/api/receipts/sync/status", SyncState(jobs))
    app.add_route("/api/receipts/sync/messages", SyncMessages(engine))
    app.add_route("/api/connections", Connections(jobs, log_ins))
    app.add_route("/api/connections/{connection_id}", ConnectionItem(jobs, log_ins))
    app.add_route("/api/connections/{connection_id}/test", ConnectionTest(jobs, log_ins))
    app.add_route("/api/admin/business/{business_id}/reset-progress", ResetProgress(engine, settings))
    app.add_route("/api/jobs", JobCollection(jobs))
    app.add_route("/api/jobs/health", JobsHealth(engine, settings))
    app.add_route("/api/jobs/worker/config", WorkerSettings(engine))
    for prefix in ("/api/jobs", "/api/receipts/jobs"):
        app.add_route(f"{prefix}/{{job_id}}", JobItem(jobs))
        app.add_route(f"{prefix}/{{job_id}}/events", JobEvents(jobs))
        app.add_route(f"{prefix}/{{job_id}}/why", JobWhy(jobs))
        app.add_route(f"{prefix}/{{job_id}}/result", JobResult(jobs, settings))
        app.add_route(f"{prefix}/{{job_id}}/pause", JobVerb(jobs, "pause"))
        app.add_route(f"{prefix}/{{job_id}}/cancel", JobVerb(jobs, "cancel"))
        app.add_route(f"{prefix}/{{job_id}}/resume", JobVerb(jobs, "resume"))
        app.add_route(f"{prefix}/{{job_id}}/reset", JobVerb(jobs, "reset"))
