"""Why is this job not moving? The same answer as `ops.why` gives in psql."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import falcon
from pydantic import BaseModel, Field
from sqlalchemy import Connection, text

from service.auth import Caller
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
WHY_ALL = text("""
    SELECT job_id, reason, sentence FROM public.why_jobs(CAST(:ids AS bigint[]), false, CAST(:most_ahead AS integer))
""")
STUCK = text("""
    SELECT w.job_id FROM public.why_jobs(ARRAY(
        SELECT j.id FROM background_jobs j WHERE j.status IN ('queued', 'running')
           AND (CAST(:business_id AS bigint) IS NULL OR j.business_id = :business_id)), false, 0) w
    WHERE w.reason NOT IN ('running', 'waiting_turn', 'snoozed', 'stopping')
""")
GONE = {"reason": "ended", "sentence": "It was cleared away at this moment"}
MOST_AHEAD, MOST_AHEAD_IN_A_LIST = 1000, 100  # as far as messages ahead of a job are counted


class Why(BaseModel):
    reason: Reason
    sentence: str


class WhyAnswer(Success, Why):
    job_id: int
    since: datetime | None
    evidence: dict[str, Any] = Field(description="what the answer rests on; hosts and queries for an operator only")
    remedy: str = Field(description="the command or the call that fixes it")


def whys(connection: Connection, ids: Sequence[int]) -> dict[int, dict[str, str]]:
    """The short form, of each of these jobs that is there."""
    if not ids:
        return {}
    most = MOST_AHEAD if len(ids) == 1 else MOST_AHEAD_IN_A_LIST
    rows = connection.execute(WHY_ALL, {"ids": list(ids), "most_ahead": most})
    return {row.job_id: {"reason": row.reason, "sentence": row.sentence} for row in rows}


def stuck(connection: Connection, business_id: int | None) -> list[int]:
    """The jobs of a business, or of all, that are queued or run and do not move."""
    return list(connection.scalars(STUCK, {"business_id": business_id}))


class JobWhy:
    """Of the job as it stands: a look that first took it from a dead worker could not say that the worker is dead."""

    def __init__(self, jobs: Any) -> None:
        self._jobs = jobs

    @spec.validate(query=NoQuery, resp=responses(WhyAnswer, 404))
    def on_get(self, request: falcon.Request, response: falcon.Response, job_id: str) -> None:
        """Why the job is not moving: the reason, what it rests on, and what to do"""
        caller: Caller = request.context.caller
        number = parse_id(job_id)
        with self._jobs.engine.begin() as connection:
            self._jobs.find(connection, caller, number)
            values = {"job_id": number, "for_operator": caller.role == "operator"}
            why = dict(connection.execute(WHY, values).mappings().one())
        response.media = {"success": True, "job_id": number, **why}
