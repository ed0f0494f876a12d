"""The call that a page makes when it opens: is there a delete job, and what is its state?"""

import falcon
from sqlalchemy import text

from actors.delete_receipts import delete_receipts
from service.caller import Caller
from service.job_model import Job
from service.job_view import Jobs
from service.jobs import reply
from service.openapi import NoQuery, Success, responses, spec

# The job that has just turned out to be stale, else the active one.
SHOWN = text("""
    SELECT id FROM background_jobs
    WHERE business_id = :business_id AND job_type = :type
      AND (status IN ('queued', 'running', 'paused') OR id = ANY (:stale))
    ORDER BY id = ANY (:stale) DESC, id LIMIT 1
""")
ACTIVE = text("""
    SELECT EXISTS (SELECT FROM background_jobs
                   WHERE business_id = :business_id AND job_type = :type AND status IN ('queued', 'running', 'paused'))
""")


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
        swept, notices = self._jobs.reconcile(business_id)
        scope = {"business_id": business_id, "type": delete_receipts.name, "stale": swept.stale}
        with self._jobs.engine.begin() as connection:
            has_active = connection.execute(ACTIVE, scope).scalar_one()
            shown = connection.execute(SHOWN, scope).one_or_none()
            job = None if shown is None else self._jobs.shown(connection, caller, shown.id, notices)
        was_stale = shown is not None and shown.id in swept.stale
        reply(response, has_active_job=has_active, was_stale=was_stale, job=job)
