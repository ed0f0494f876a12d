"""The minimum that can answer a poll: Falcon, one query, no token, no checks."""

import os
from typing import Any

import falcon
from sqlalchemy import text

from sql.engine import make_engine, reading

engine = make_engine(os.environ["DATABASE_URL"], application_name="bench bare")
JOB = text("SELECT id, status, processed, total FROM background_jobs WHERE id = :id")


class Job:
    def on_get(self, _request: falcon.Request, response: falcon.Response, job_id: str) -> None:
        with reading(engine) as connection:
            response.media = dict(connection.execute(JOB, {"id": int(job_id)}).mappings().one())


app: "falcon.App[Any, Any]" = falcon.App()
app.add_route("/api/jobs/{job_id}", Job())
