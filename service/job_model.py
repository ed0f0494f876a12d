"""A job's fields, as every answer that has one shows them."""

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
    key: str = Field(description="one job of this type may be active for each key of a business; empty: one in all")
    status: Status
    requested: Literal["pause", "cancel"] | None
    total: int | None
    processed: int
    succeeded: int
    failed_count: int
    with_failures: bool = Field(description="completed, but failed_count items were not done")
    links: dict[str, str] = Field(
        description="where to go on: self, events, the verbs that its status and this token allow, result, and retry, "
        "the call that starts a new job for the rest"
    )
    percent: float
    rate: float | None = Field(description="items a second over the last minute, with pauses; null until it is known")
    eta_seconds: int | None = Field(description="until it is done, at that rate; null until that means something")
    last_error: str | None = Field(description="of a row that was passed over, or why the job failed")
    error_code: str | None = Field(description="why the job failed, for programs; where its kind knows")
    waiting_for: str | None = Field(description="what keeps the job now; it goes on by itself")
    wait_until: datetime | None = Field(description="a queued job goes on then, and not before unless it is resumed")
    created_at: datetime
    started_at: datetime | None
    updated_at: datetime
    finished_at: datetime | None
    heartbeat_at: datetime | None
    seconds_since_heartbeat: int | None
    is_stale: bool
    attempt: int
    stats: dict[str, Any]
    why: Why = Field(description="why it is where it is, in short; more at its address and /why")
    notice: str | None = Field(description="what else to know of it: why it may be outdated, or that nobody can run it")
    requested_by_user_id: int | None


# Why what is stored may be outdated, by job; None: for all that run.
Notices = dict[int | None, str]


def notice_of(row: Mapping[Any, Any], notices: Notices) -> str | None:
    if row["is_unknown"]:
        return "No live worker knows this kind of job"
    return notices.get(row["id"], notices.get(None)) if row["status"] == RUNNING else None
