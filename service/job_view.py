"""A job as the API shows it: brought to where it truly is, or as it was known last, with a notice why."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

import structlog
from pydantic import BaseModel, Field
from sqlalchemy import Connection, Engine, text

from actors.runtime.base.config import Settings
from actors.runtime.base.failures import describe, is_lost, sqlstate
from actors.runtime.jobs.kinds import Kind, load_kinds
from actors.runtime.jobs.progress import percent
from actors.runtime.jobs.reconcile import Swept, reconcile
from service.auth import Caller
from service.errors import not_found, outdated
from sql.states import COMPLETED, RUNNING

log = structlog.get_logger("longhaul.http")

Status = Literal["queued", "running", "paused", "completed", "cancelled", "failed"]
KINDS = load_kinds()

# The newest first; all of them, or those that these filters leave.
SELECT = text("""
    WITH known AS MATERIALIZED (
        SELECT w.kinds FROM workers w JOIN public.live_workers() AS live (id) ON live.id = w.id
    )
    SELECT j.*, j.status = 'queued' AND j.resends > 1 AND EXISTS (SELECT FROM known) AND NOT EXISTS (
               SELECT FROM known WHERE known.kinds IS NULL OR j.job_type = ANY (known.kinds)) AS is_unknown,
           coalesce(a.deleted + a.kept, 0) AS attachments_deleted, coalesce(a.failed, 0) AS attachments_failed,
           coalesce(a.pending, 0) AS attachments_pending, coalesce(a.kept, 0) AS attachments_with_versions_kept,
           a.error AS attachments_error,
           extract(epoch FROM clock_timestamp() - j.heartbeat_at)::bigint AS seconds_since_heartbeat,
           CASE j.status WHEN 'running' THEN extract(epoch FROM public.silence(j.heartbeat_at)) END AS silent_for,
           CASE j.status WHEN 'running' THEN extract(epoch FROM public.silence(j.updated_at)) END AS unchanged_for
    FROM background_jobs j LEFT JOIN attachment_counts a ON a.job_id = j.id
    WHERE (CAST(:business_id AS bigint) IS NULL OR j.business_id = :business_id)
      AND (CAST(:job_id AS bigint) IS NULL OR j.id = :job_id)
      AND (CAST(:status AS text) IS NULL OR j.status = :status)
      AND (CAST(:job_type AS text) IS NULL OR j.job_type = :job_type)
      AND (CAST(:after AS bigint) IS NULL OR j.id < :after)
    ORDER BY j.id DESC LIMIT :limit + 1
""")
EVERY = {"job_id": None, "status": None, "job_type": None, "after": None, "limit": 1}

# Starts of one business wait for each other here, so that neither the limit nor the 409 can be raced.
LOCK_BUSINESS = text("SELECT id FROM businesses WHERE id = :business_id FOR NO KEY UPDATE")

# Which call starts another job of a type: it meets again what the one before could not do.
RETRY = {"delete_receipts": "/api/receipts/delete_all"}


class Job(BaseModel):
    job_id: int
    job_type: str
    status: Status
    requested: Literal["pause", "cancel"] | None
    total: int | None
    processed: int
    succeeded: int
    failed_count: int
    with_failures: bool = Field(description="completed, but failed_count items were not done")
    links: dict[str, str] = Field(description="where to go on: retry is the call that starts a new job for the rest")
    percent: float
    last_error: str | None = Field(description="of a row that was passed over, or why the job failed")
    waiting_for: str | None = Field(description="what keeps a running job now; it tries again by itself")
    created_at: datetime
    started_at: datetime | None
    updated_at: datetime
    finished_at: datetime | None
    heartbeat_at: datetime | None
    seconds_since_heartbeat: int | None
    is_stale: bool
    attempt: int
    stats: dict[str, Any]
    notice: str | None = Field(description="what else to know of it: why it may be outdated, or that nobody can run it")
    requested_by_user_id: int | None


# Why what is stored may be outdated, by job; None: for all that run.
Notices = dict[int | None, str]


def notice_of(row: Mapping[Any, Any], notices: Notices) -> str | None:
    if row["is_unknown"]:
        return "No live worker knows this kind of job"
    return notices.get(row["id"], notices.get(None)) if row["status"] == RUNNING else None


class Jobs:
    """Jobs as the API shows them. Every look at a running job first brings it to where it truly is."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings

    def look(self, caller: Caller, job_id: int) -> tuple[dict[str, Any], Notices]:
        """The job's row as it truly is; or as it was known last, and a notice why. 404 for another business's."""
        with self.engine.begin() as connection:
            row = self.find(connection, caller, job_id)
        if row["status"] != RUNNING:
            return row, {}
        _, notices = self.reconcile(row["business_id"])
        with self.engine.begin() as connection:
            return self.find(connection, caller, job_id), notices

    def find(self, connection: Connection, caller: Caller, job_id: int) -> dict[str, Any]:
        """The job's row as it stands; 404 for another business's."""
        values = {**EVERY, "job_id": job_id, "business_id": caller.business_id}
        row = connection.execute(SELECT, values).mappings().one_or_none()
        if row is None:
            raise not_found(f"Job {job_id}")
        return dict(row)

    def reconcile(
        self, business_id: int, kinds: Iterable[Kind] = tuple(KINDS.values()), *, alone: bool = False
    ) -> tuple[Swept, Notices]:
        """Brings the business's running jobs to where they truly are, apart from what the caller does.

        That may be impossible in a database that can be read all the same: then a notice says why what is stored may
        be outdated. `alone`: waits for another start of the business, which may be at it.
        """
        try:
            with self.engine.connect() as connection:
                if alone:
                    with connection.begin():
                        connection.execute(LOCK_BUSINESS, {"business_id": business_id})
                        swept = reconcile(connection, kinds, self.settings, business_id)
                else:
                    swept = reconcile(connection, kinds, self.settings, business_id)
        except Exception as error:
            if is_lost(error):
                raise
            log.warning("jobs.not_settled", business_id=business_id, error=describe(error))
            return Swept(), {None: outdated(sqlstate(error))}
        return swept, {job_id: outdated(state) for job_id, state in swept.left.items()}

    def list(
        self, connection: Connection, business_id: int, query: BaseModel, notices: Notices
    ) -> list[dict[str, Any]]:
        rows = connection.execute(SELECT, {**EVERY, "business_id": business_id, **query.model_dump()})
        return [self.view(row, notices) for row in rows.mappings()]

    def view(self, row: Mapping[Any, Any], notices: Notices | None = None) -> dict[str, Any]:
        job = {name: row[name] for name in Job.model_fields if name in row}
        counted = {name: row[name] for name in row if name.startswith("attachments_")}
        if not counted["attachments_with_versions_kept"]:  # only where the store keeps what we delete
            del counted["attachments_with_versions_kept"]
        if counted["attachments_error"] is None:
            del counted["attachments_error"]
        else:  # every member of the business reads it: no word of where our bucket is
            said = re.sub(r"^bucket '.*?' at \S+", "the bucket", counted["attachments_error"])
            counted["attachments_error"] = re.sub(r"arn:\S+|https?://\S+|\b\d{12}\b", "…", said)
        with_failures = row["status"] == COMPLETED and row["failed_count"] > 0
        return job | {
            "job_id": row["id"],
            "with_failures": with_failures,
            "links": {"retry": RETRY[row["job_type"]]} if with_failures and row["job_type"] in RETRY else {},
            "percent": 100.0 if row["status"] == COMPLETED else percent(row["processed"], row["total"]),
            "is_stale": self._is_stale(row),
            "stats": row["stats"] | counted,
            "notice": notice_of(row, notices or {}),
        }

    def _is_stale(self, row: Mapping[Any, Any]) -> bool:
        """Would the stale rule fail it now? True is seen only while another transaction holds the row."""
        kind: Kind | None = KINDS.get(row["job_type"])
        if row["status"] != RUNNING or kind is None:
            return False
        heartbeat, update = (
            kind.setting(self.settings, name) for name in ("STALE_HEARTBEAT_SECONDS", "STALE_UPDATE_SECONDS")
        )
        return (row["silent_for"] or 0) > heartbeat or row["unchanged_for"] > update
