"""A job's fields, as every response shows them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from service.why import Why
from sql.states import RUNNING

Status = Literal["queued", "running", "paused", "completed", "cancelled", "failed"]


class Job(BaseModel):
    job_id: int
    business_id: int
    job_type: str
    key: str = Field(description="one job of this type may be active per business and key; empty: one per business")
    status: Status
    requested: Literal["pause", "cancel"] | None
    total: int | None
    processed: int
    succeeded: int
    failed_count: int
    with_failures: bool = Field(description="completed, but failed_count items failed")
    links: dict[str, str] = Field(
        description="self, events, the verbs that its status and this token allow, result, retry, "
        "the call that starts a new job for the rest, and restore, the one that starts a job that undoes it"
    )
    percent: float
    rate: float | None = Field(description="items per second over the last minute, pauses included; null until known")
    eta_seconds: int | None = Field(description="seconds until it is done at that rate; null until it can be estimated")
    last_error: str | None = Field(description="of a row that was skipped, or why the job failed")
    error_code: str | None = Field(description="why the job failed, for programs; if its kind knows")
    waiting_for: str | None = Field(description="what the job waits for now; it continues by itself")
    wait_until: datetime | None = Field(description="when a queued job continues; earlier only if it is resumed")
    created_at: datetime
    started_at: datetime | None
    updated_at: datetime
    finished_at: datetime | None
    heartbeat_at: datetime | None
    seconds_since_heartbeat: int | None
    is_stale: bool
    attempt: int
    stats: dict[str, Any]
    why: Why = Field(description="why it is in this state, in short; more at its address plus /why")
    notice: str | None = Field(description="why this may be outdated, or that no worker can run it")
    requested_by_user_id: int | None


# Why the stored state may be outdated, by job; None: for all running jobs.
Notices = dict[int | None, str]


def notice_of(row: Mapping[Any, Any], notices: Notices) -> str | None:
    if row["is_unknown"]:
        return "No live worker knows this kind of job"
    return notices.get(row["id"], notices.get(None)) if row["status"] == RUNNING else None
