"""Starting a delete job, and the call that a page makes when it opens: is there one, and how is it?"""

from typing import Any, Literal

import falcon
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from actors.delete_receipts import bounds, count, delete_receipts
from actors.runtime.base.failures import is_timeout
from service.auth import WRITERS, Caller, name_token
from service.errors import ApiError
from service.job_view import LOCK_BUSINESS, Job, Jobs, Notices
from service.jobs import reply
from service.openapi import Input, NoQuery, Success, responses, spec
from service.rates import spend_change
from sql.states import QUEUED

ACTIVE = text("""
    SELECT id FROM background_jobs
    WHERE business_id = :business_id AND job_type = :type AND status IN ('queued', 'running', 'paused')
""")

SECONDS_TO_WAIT = text("""
    SELECT ceil(:limit - extract(epoch FROM clock_timestamp() - max(created_at)))::bigint
    FROM background_jobs WHERE business_id = :business_id AND job_type = :type
""")

START = text("""
    SELECT id FROM public.start_job(
        CAST(:business_id AS bigint), CAST(:type AS text), CAST(:queue AS text), CAST(:params AS jsonb),
        CAST(:total AS bigint), CAST(:user_id AS bigint), CAST(:who AS text))
""")

LISTENING = text("""
    SELECT count(*) FROM workers w JOIN public.live_workers() AS live (id) ON live.id = w.id
    WHERE :queue = ANY (w.queues)
""")

TRIES = 3  # of a start that others get in the way of
COUNT_SECONDS = 1  # longer than this and the worker counts instead


def _is_second(error: IntegrityError) -> bool:
    """Was there another active job of the business and type already?"""
    constraint = error.orig.diag.constraint_name if error.orig else None  # type: ignore[attr-defined]
    return bool(constraint == "idx_background_jobs_unique_active")


class DeleteAll(Input):
    confirm: Literal["DELETE"]


class Started(Success):
    job_id: int
    status: str
    total: int | None
    workers_listening: int


class DeleteAllReceipts:
    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    @spec.validate(query=NoQuery, json=DeleteAll, resp=responses({202: Started}, 409, 429))
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Starts a job that deletes all receipts that the business has now"""
        caller: Caller = request.context.caller
        caller.require(WRITERS)
        business_id = caller.own_business()
        scope = {"business_id": business_id, "type": delete_receipts.name, "queue": delete_receipts.queue}
        _, notices = self._jobs.reconcile(business_id, alone=True)
        for _ in range(TRIES):
            try:
                answer = self._try(caller, scope, notices)
            except IntegrityError as error:
                if not _is_second(error):
                    raise
                continue
            response.status = 202
            reply(response, **answer)
            return
        raise ApiError(
            503,
            "unavailable",
            "Other jobs of this business start and end all the time; try again",
            headers={"Retry-After": "5"},
        )

    def _try(self, caller: Caller, scope: dict[str, Any], notices: Notices) -> dict[str, Any]:
        """IntegrityError when a job that was resumed, or started past us in psql, took the one place meanwhile.

        In the next try it is refused as the second; unless that other job has ended since.
        """
        with self._jobs.engine.begin() as connection:
            connection.execute(LOCK_BUSINESS, scope)
            self._refuse_second(connection, caller, scope, notices)
            self._refuse_too_soon(connection, scope)
            name_token(connection, caller)
            job_id, total = self._start(connection, caller, scope)
            spend_change(connection, caller, self._jobs.settings)
            listening = connection.execute(LISTENING, scope).scalar_one()
        return {"job_id": job_id, "status": QUEUED, "total": total, "workers_listening": listening}

    def _refuse_second(self, connection: Connection, caller: Caller, scope: dict[str, Any], notices: Notices) -> None:
        active = connection.execute(ACTIVE, scope).scalar()
        if active is not None:
            job = self._jobs.view(self._jobs.find(connection, caller, active), notices)
            raise ApiError(
                409,
                "job_active",
                f"Job {active} is deleting this business's receipts already; it is {job['status']}",
                job_id=active,
                progress=job,
            )

    def _refuse_too_soon(self, connection: Connection, scope: dict[str, Any]) -> None:
        limit = self._jobs.settings.DELETE_RATE_LIMIT_SECONDS
        seconds = connection.execute(SECONDS_TO_WAIT, {**scope, "limit": limit}).scalar()
        if limit and seconds is not None and seconds > 0:
            raise ApiError(
                429,
                "rate_limited",
                f"A delete job was started less than {limit} s ago; try again in {seconds} s",
                headers={"Retry-After": str(seconds)},
                retry_after=seconds,
            )

    def _start(self, connection: Connection, caller: Caller, scope: dict[str, Any]) -> tuple[int, int | None]:
        params = bounds(connection, scope["business_id"])
        total = self._count(connection, scope["business_id"], params)
        values = {"params": f'{{"max_id": {params["max_id"]}}}', "total": total, "user_id": caller.user_id}
        job_id: int = connection.execute(START, {**scope, **values, "who": caller.name}).scalar_one()
        return job_id, total

    def _count(self, connection: Connection, business_id: int, params: dict[str, int]) -> int | None:
        """None when it takes too long: a front end waits for this answer."""
        savepoint = connection.begin_nested()
        try:
            connection.execute(text(f"SET LOCAL statement_timeout = '{COUNT_SECONDS}s'"))
            return count(connection, business_id, params)
        except DBAPIError as error:
            if not is_timeout(error):
                raise
            return None
        finally:
            savepoint.rollback()  # and with it the short timeout


class DeleteJobStatus(Success):
    has_active_job: bool
    was_stale: bool
    job: Job | None


class DeleteJob:
    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    @spec.validate(query=NoQuery, resp=responses(DeleteJobStatus))
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The active delete job, or the one that just turned out to be stale"""
        caller: Caller = request.context.caller
        business_id = caller.own_business()
        swept, notices = self._jobs.reconcile(business_id, [delete_receipts])
        stale = swept.stale
        with self._jobs.engine.begin() as connection:
            active = connection.execute(ACTIVE, {"business_id": business_id, "type": delete_receipts.name}).scalar()
            shown = stale[0] if stale else active
            job = None if shown is None else self._jobs.view(self._jobs.find(connection, caller, shown), notices)
        reply(response, has_active_job=active is not None, was_stale=bool(stale), job=job)
