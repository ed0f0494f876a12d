"""Jobs: one, the list, the timeline, and pause, cancel and resume."""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Annotated, Any, Literal

import falcon
from pydantic import AfterValidator, BaseModel, Field
from sqlalchemy import text

from service.caller import WRITERS, Caller, name_token
from service.errors import not_found
from service.etag import known_version, reply_unless_known
from service.job_model import Job, Status, notice_of
from service.job_rows import KINDS
from service.job_starts import POLL_SECONDS
from service.job_view import Jobs
from service.openapi import MAX_ID, Input, NoQuery, Success, parse_id, responses, spec
from service.rate_limits import spend_change
from service.start import StartAny
from sql.states import ACTIVE

EVENTS = text("""
    SELECT id, at, event, from_status, to_status, actor, reason, attempt, worker_id, detail FROM job_events
    WHERE job_id = :job_id AND id > coalesce(:after, 0) ORDER BY id LIMIT :limit + 1
""")


def _known_type(job_type: str) -> str:
    if job_type not in KINDS:
        raise ValueError(f"Found the job_type {job_type!r}, expected one of {', '.join(KINDS)}")
    return job_type


class Page(Input):
    limit: int = Field(default=50, ge=1, le=500, description="the maximum number of items")
    after: int | None = Field(default=None, ge=0, le=MAX_ID, description="next_after of the previous page")


class JobQuery(Page):
    status: Status | None = None
    business_id: int | None = Field(
        default=None, ge=0, le=MAX_ID, description="for an operator: only this business's jobs"
    )
    job_type: Annotated[str, AfterValidator(_known_type), Field(json_schema_extra={"enum": list(KINDS)})] | None = None
    from_date: date | None = Field(default=None, description="started on this day at the earliest, UTC")
    to_date: date | None = Field(default=None, description="started on this day at the latest, UTC")
    stuck: bool = Field(default=False, description="only active jobs that are not moving")


class JobAnswer(Success, Job):
    pass


class JobList(Success):
    jobs: list[Job]
    next_after: int | None


class JobEvent(BaseModel):
    id: int
    at: datetime
    event: str
    from_status: str | None
    to_status: str
    actor: str
    reason: str | None
    attempt: int
    worker_id: int | None
    detail: dict[str, Any] | None


class EventList(Success):
    events: list[JobEvent]
    notice: str | None = Field(description="why this may be outdated")
    next_after: int | None


def paginate(rows: Iterable[dict[str, Any]], limit: int, key: str) -> tuple[list[dict[str, Any]], int | None]:
    """The rows to show out of limit + 1, and `next_after`."""
    rows = list(rows)
    return rows[:limit], rows[limit - 1][key] if len(rows) > limit else None


def reply(response: falcon.Response, **body: Any) -> None:
    response.media = {"success": True, **body}


class JobCollection(StartAny):
    """All jobs of a business; a POST starts another one (start.py)."""

    def __init__(self, jobs: Jobs) -> None:
        super().__init__(jobs)
        self._jobs = jobs

    @spec.validate(query=JobQuery, resp=responses(JobList, 404))
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The business's jobs, or all businesses' for an operator, newest first"""
        query: JobQuery = request.context.query
        caller: Caller = request.context.caller
        business_id = query.business_id if caller.business_id is None else caller.business_id
        if query.business_id not in (None, business_id):
            raise not_found(f"Business {query.business_id}")
        _, notices = self._jobs.reconcile(business_id)
        with self._jobs.engine.begin() as connection:
            jobs, next_after = paginate(self._jobs.list(connection, caller, query, notices), query.limit, "job_id")
        reply_unless_known(request, response, {"jobs": jobs, "next_after": next_after})


class JobItem:
    is_polled = True

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    @spec.validate(query=NoQuery, resp=responses(JobAnswer, 404))
    def on_get(self, request: falcon.Request, response: falcon.Response, job_id: str) -> None:
        """One job, as it is now"""
        job, version = self._jobs.show(request.context.caller, parse_id(job_id), known_version(request))
        if job is None or job["status"] in ACTIVE:
            response.set_header("Retry-After", POLL_SECONDS)
        reply_unless_known(request, response, job, version)


class JobEvents:
    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    @spec.validate(query=Page, resp=responses(EventList, 404))
    def on_get(self, request: falcon.Request, response: falcon.Response, job_id: str) -> None:
        """The job's timeline, oldest first"""
        query: Page = request.context.query
        number = parse_id(job_id)
        row, notices = self._jobs.look(request.context.caller, number)
        with self._jobs.engine.begin() as connection:
            rows = connection.execute(EVENTS, {"job_id": number, **query.model_dump()}).mappings()
            events, next_after = paginate((dict(row) for row in rows), query.limit, "id")
        reply(response, events=events, next_after=next_after, notice=notice_of(row, notices))


VERBS = {
    "pause": text("SELECT id FROM public.pause_job(CAST(:job_id AS bigint), CAST(:who AS text))"),
    "cancel": text("SELECT id FROM public.cancel_job(CAST(:job_id AS bigint), CAST(:who AS text))"),
    "resume": text("SELECT id FROM public.resume_job(CAST(:job_id AS bigint), CAST(:who AS text))"),
    "reset": text("SELECT id FROM public.reset_job(CAST(:job_id AS bigint), CAST(:who AS text))"),
}
WHO_MAY: dict[str, tuple[str, ...]] = {"reset": ()}  # an operator only


class JobVerb:
    """One of pause, cancel, resume and reset: the SQL function of that name does it or refuses it."""

    def __init__(self, jobs: Jobs, verb: Literal["pause", "cancel", "resume", "reset"]) -> None:
        self._jobs = jobs
        self._roles = WHO_MAY.get(verb, WRITERS)
        self._call = VERBS[verb]

    @spec.validate(query=NoQuery, resp=responses(JobAnswer, 404, 409))
    def on_post(self, request: falcon.Request, response: falcon.Response, job_id: str) -> None:
        """Pauses, cancels or resumes a job, as the address says, or takes it from its worker (an operator's reset)"""
        number = parse_id(job_id)
        request.get_media(default_when_empty=None)  # needs no body; one that is not JSON is still refused
        caller: Caller = request.context.caller
        caller.require(self._roles)
        _, notices = self._jobs.look(caller, number)
        with self._jobs.engine.begin() as connection:
            before = self._jobs.find(connection, caller, number)
            name_token(connection, caller)
            connection.execute(self._call, {"job_id": number, "who": caller.name})
            row = self._jobs.find(connection, caller, number)
            if any(row[name] != before[name] for name in ("status", "requested", "wait_until")):
                spend_change(connection, caller, self._jobs.settings)
            job = self._jobs.view(connection, caller, row, notices)
        reply(response, **job)
