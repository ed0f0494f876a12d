"""Why is this job not moving? The same answer as `ops.why` in psql."""

from datetime import datetime
from typing import Any, Literal

import falcon
from pydantic import BaseModel, Field
from sqlalchemy import Connection, text

from service.caller import Caller
from service.openapi import NoQuery, Success, parse_id, responses, spec

Reason = Literal[
    "no_worker",
    "waiting_turn",
    "snoozed",
    "running",
    "backing_off",
    "blocked",
    "silent_worker",
    "not_moving",
    "paused",
    "stopping",
    "no_message",
    "unknown_kind",
    "bucket_refuses",
    "read_only",
    "needs_reconnect",
    "listing",
    "failed",
    "completed_with_failures",
    "ended",
]

WHY = text("SELECT * FROM public.why_job(CAST(:job_id AS bigint), CAST(:for_operator AS boolean))")
STUCK = text("""
    SELECT w.job_id
    FROM public.why_jobs(ARRAY(SELECT public.jobs_to_explain(CAST(:business_id AS bigint))), false, 0) w
    WHERE w.reason NOT IN ('running', 'waiting_turn', 'snoozed', 'stopping', 'listing')
""")


class Why(BaseModel):
    reason: Reason
    sentence: str


class WhyAnswer(Success, Why):
    job_id: int
    since: datetime | None
    evidence: dict[str, Any] = Field(description="the facts behind the answer; hosts and queries for an operator only")
    remedy: str = Field(description="the command or the call that fixes it")


def stuck(connection: Connection, business_id: int | None) -> list[int]:
    """The jobs of a business, or of all, that are queued or running but not moving."""
    return list(connection.scalars(STUCK, {"business_id": business_id}))


class JobWhy:
    """For the job as stored: reconciling it first would hide that its worker is dead."""

    def __init__(self, jobs: Any) -> None:
        self._jobs = jobs

    @spec.validate(query=NoQuery, resp=responses(WhyAnswer, 404))
    def on_get(self, request: falcon.Request, response: falcon.Response, job_id: str) -> None:
        """Why the job is not moving: the reason, the evidence and what to do"""
        caller: Caller = request.context.caller
        number = parse_id(job_id)
        with self._jobs.engine.begin() as connection:
            self._jobs.find(connection, caller, number)
            values = {"job_id": number, "for_operator": caller.role == "operator"}
            why = dict(connection.execute(WHY, values).mappings().one())
        response.media = {"success": True, "job_id": number, **why}
