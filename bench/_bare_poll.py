"""The minimum that can answer a poll: Falcon, one query, no token, no checks.

As `plain` it is as anybody would write it, with SQLAlchemy's own engine; as `app` it has our engine.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import falcon
from sqlalchemy import Connection, create_engine, text

from sql.engine import make_engine, reading
from sql.url import DRIVER, connector

engine = make_engine(os.environ["DATABASE_URL"], application_name="bench bare")
JOB = text("SELECT id, status, processed, total FROM background_jobs WHERE id = :id")


plain_engine = create_engine(DRIVER, creator=connector(os.environ["DATABASE_URL"]), pool_pre_ping=True)


class Job:
    def __init__(self, connect: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._connect = connect

    def on_get(self, _request: falcon.Request, response: falcon.Response, job_id: str) -> None:
        with self._connect() as connection:
            response.media = dict(connection.execute(JOB, {"id": int(job_id)}).mappings().one())


def application(connect: Callable[[], AbstractContextManager[Connection]]) -> "falcon.App[Any, Any]":
    made: falcon.App[Any, Any] = falcon.App()
    made.add_route("/api/jobs/{job_id}", Job(connect))
    return made


app = application(lambda: reading(engine))
plain = application(plain_engine.connect)
