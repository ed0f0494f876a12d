"""The file that a job has made: a new link to it per request, valid for a few minutes."""

import falcon
from sqlalchemy import text

from actors.runtime.base.config import Settings
from actors.runtime.base.storage import Bucket
from service.caller import Caller
from service.errors import ApiError
from service.job_rows import KINDS
from service.job_view import Jobs
from service.openapi import NoQuery, Success, parse_id, responses, spec

LINK_SECONDS = 300
STORED = text("SELECT * FROM background_jobs WHERE id = :job_id")


class Result(Success):
    url: str
    expires_in: int


class JobResult:
    def __init__(self, jobs: Jobs, settings: Settings) -> None:
        self._jobs = jobs
        self._bucket = Bucket(settings)

    @spec.validate(query=NoQuery, resp=responses(Result, 404, 409, 410))
    def on_get(self, request: falcon.Request, response: falcon.Response, job_id: str) -> None:
        """A link to the job's file; anyone who has the link can read the file while it is valid"""
        number = parse_id(job_id)
        caller: Caller = request.context.caller
        row, _ = self._jobs.look(caller, number)
        kind = KINDS.get(row["job_type"])
        if kind is None or kind.result is None:
            raise ApiError(404, "no_result", f"Job {number} produces no file")
        caller.require(kind.roles)
        if row["status"] != "completed":
            raise ApiError(
                409, "not_completed", f"Job {number} is {row['status']}; its file will exist once it is completed"
            )
        with self._jobs.engine.begin() as connection:
            stored = connection.execute(STORED, {"job_id": number}).mappings().one_or_none()
            found = None if stored is None else kind.result(connection, dict(stored))
        if found is None:
            raise ApiError(410, "gone", f"The file of job {number} is no longer kept; start another job")
        url = self._bucket.link(found.object_key, found.filename, LINK_SECONDS)
        response.media = {"success": True, "url": url, "expires_in": LINK_SECONDS}
