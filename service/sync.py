"""The receipt sync's own addresses: starting one, how it is, and what became of each mail."""

from datetime import datetime
from typing import Any, Literal

import falcon
from pydantic import BaseModel, Field
from sqlalchemy import Engine, text

from service.caller import Caller
from service.errors import ApiError
from service.job_model import Job
from service.job_starts import Starts
from service.job_view import Jobs
from service.jobs import Page, paginate, reply
from service.openapi import MAX_ID, Input, Success, responses, spec

# The one that just turned out to be stale, else the active one, else the last.
SHOWN = text("""
    SELECT id, status IN ('queued', 'running', 'paused') AS is_active FROM background_jobs
    WHERE business_id = :business_id AND job_type = 'sync_receipts'
      AND (CAST(:key AS text) IS NULL OR key = :key)
    ORDER BY id = ANY (:stale) DESC, status IN ('queued', 'running', 'paused') DESC, id DESC LIMIT 1
""")
MESSAGES = text("""
    SELECT id AS message_id, connection_id, uid, received_at, state, reason, rule, receipt_id, decided_at
    FROM mail_messages
    WHERE business_id = :business_id AND (CAST(:state AS text) IS NULL OR state = :state)
      AND (CAST(:connection_id AS bigint) IS NULL OR connection_id = :connection_id)
      AND (CAST(:after AS bigint) IS NULL OR id < :after)
    ORDER BY id DESC LIMIT :limit + 1
""")


def sync_progress(job: dict[str, Any]) -> dict[str, Any]:
    """What a page shows of a sync, in the words that it knows."""
    stats = job["stats"]
    return {
        "messages_scanned": stats.get("messages_scanned", 0),
        "saved_receipts": stats.get("saved_receipts", 0),
        "pages_scanned": stats.get("pages_scanned", 0),
        "progress_percentage": job["percent"],
        "last_heartbeat_at": job["heartbeat_at"],
        "seconds_since_heartbeat": job["seconds_since_heartbeat"],
    }


class SyncStarts(Starts):
    """A start whose 409 carries the progress of the sync that is active, beside that job itself."""

    def start(self, *arguments: Any, **named: Any) -> tuple[dict[str, Any], bool]:
        try:
            return super().start(*arguments, **named)
        except ApiError as error:
            if error.body["code"] == "job_active":
                error.body["progress"] = {**error.body["progress"], **sync_progress(error.body["progress"])}
            raise


class SyncQuery(Input):
    connection_id: int | None = Field(default=None, ge=1, le=MAX_ID)


class Progress(BaseModel):
    messages_scanned: int
    saved_receipts: int
    pages_scanned: int
    progress_percentage: float
    last_heartbeat_at: datetime | None
    seconds_since_heartbeat: int | None


class SyncStatus(Success):
    has_active_job: bool
    was_stale: bool
    job: Job | None = Field(description="the one that just turned out to be stale, else the active one, else the last")
    progress: Progress | None


class SyncState:
    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    @spec.validate(query=SyncQuery, resp=responses(SyncStatus))
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The active sync, or the last one"""
        query: SyncQuery = request.context.query
        caller: Caller = request.context.caller
        business_id = caller.own_business()
        swept, notices = self._jobs.reconcile(business_id)
        key = None if query.connection_id is None else str(query.connection_id)
        scope = {"business_id": business_id, "key": key, "stale": swept.stale}
        with self._jobs.engine.begin() as connection:
            shown = connection.execute(SHOWN, scope).one_or_none()
            job = None if shown is None else self._jobs.shown(connection, caller, shown.id, notices)
        was_stale = shown is not None and shown.id in swept.stale
        is_active = shown is not None and shown.is_active
        progress = None if job is None else sync_progress(job)
        reply(response, has_active_job=is_active, was_stale=was_stale, job=job, progress=progress)


State = Literal["pending", "receipt", "not_receipt", "duplicate", "unreadable"]


class MessageQuery(Page):
    state: State | None = None
    connection_id: int | None = Field(default=None, ge=1, le=MAX_ID)


class Message(BaseModel):
    message_id: int
    connection_id: int
    uid: int = Field(description="its number in the mailbox")
    received_at: datetime
    state: State
    reason: str | None
    rule: str | None = Field(description="what decided")
    receipt_id: int | None
    decided_at: datetime | None


class MessageList(Success):
    messages: list[Message]
    next_after: int | None


class SyncMessages:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @spec.validate(query=MessageQuery, resp=responses(MessageList))
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """What became of each mail, and why; nothing of what it says"""
        query: MessageQuery = request.context.query
        caller: Caller = request.context.caller
        values = {"business_id": caller.own_business(), **query.model_dump()}
        with self._engine.begin() as connection:
            rows = connection.execute(MESSAGES, values).mappings()
            messages, next_after = paginate((dict(row) for row in rows), query.limit, "message_id")
        reply(response, messages=messages, next_after=next_after)
