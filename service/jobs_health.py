"""Is work getting done? Judged by the workers that are alive, not by how they should be configured."""

from typing import Any

import falcon
from pydantic import BaseModel, Field
from sqlalchemy import Connection, Engine, text

from actors.runtime.base.config import QUEUES, Settings
from service.caller import Caller
from service.errors import ApiError
from service.jobs import reply
from service.openapi import NoQuery, Success, responses, spec
from service.shared_answer import SharedAnswer

SWEEP_SECONDS = 60  # without a sweep for this long, a dead worker goes unnoticed

STATES = text("SELECT * FROM public.queue_states()")

# In the last hour, up to a number that is quick to count.
ENDED = text("""
    SELECT queue_name, state::text AS state, count(*) AS n FROM (
        SELECT q.queue_name, q.state FROM dramatiq.queue q
        WHERE q.state IN ('done', 'rejected') AND q.mtime > now() - interval '1 hour' ORDER BY q.mtime DESC LIMIT 100000
    ) AS ended GROUP BY 1, 2
""")

WORKERS = text("""
    SELECT w.id AS worker_id, w.hostname AS host, w.pid, w.queues, w.kinds,
           extract(epoch FROM s.silent_for)::integer AS silent_seconds,
           coalesce(s.silent_for < '15 s', true) AS is_alive
    FROM public.worker_silences() s JOIN workers w ON w.id = s.worker_id ORDER BY w.id
""")

REST = text("""
    SELECT (SELECT extract(epoch FROM clock_timestamp() - swept_at)::integer FROM watched_clock) AS sweep_age_seconds,
           (SELECT count(*) FROM background_jobs j WHERE j.status = 'running' AND (
                public.silence(j.heartbeat_at)
                    > coalesce(j.stale_after, pg_catalog.make_interval(secs => :heartbeat_seconds))
                OR public.silence(j.updated_at)
                    > coalesce(j.unchanged_after, pg_catalog.make_interval(secs => :update_seconds)))
           ) AS stale_jobs
""")


class Queue(BaseModel):
    waiting: int = Field(description="jobs and other messages that could run now")
    running: int = Field(description="jobs")
    snoozed: int = Field(description="jobs that wait until a time")
    oldest_age_seconds: int | None
    workers: int = Field(description="live workers that take from it")
    queued: int = Field(description="messages, including delayed ones")
    started: int = Field(description="messages")
    finished: int = Field(description="messages, within the last hour")
    failed: int = Field(description="messages, within the last hour")


class LiveWorker(BaseModel):
    worker_id: int
    queues: list[str]
    kinds: list[str] | None
    is_alive: bool
    silent_seconds: int | None
    host: str | None = Field(description="for an operator only")
    pid: int | None = Field(description="for an operator only")


class WorkerConfig(BaseModel):
    configured_queues: list[str] = Field(description="the queues that live workers listen to")
    listens_to_maintenance: bool
    all_known_queues: list[str]


class WorkerConfigAnswer(Success, WorkerConfig):
    workers: list[LiveWorker]


class HealthAnswer(Success):
    queues: dict[str, Queue]
    workers: list[LiveWorker]
    worker_config: WorkerConfig
    stale_jobs: int
    sweep_age_seconds: int | None = Field(description="null: no sweep has run yet")


def _workers(connection: Connection) -> list[dict[str, Any]]:
    return [{name: row[name] for name in LiveWorker.model_fields} for row in connection.execute(WORKERS).mappings()]


def _shown_to(caller: Caller, workers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    hidden = {} if caller.role == "operator" else {"host": None, "pid": None}
    return [worker | hidden for worker in workers]


def _config(workers: list[dict[str, Any]]) -> dict[str, Any]:
    queues = sorted({queue for worker in workers if worker["is_alive"] for queue in worker["queues"]})
    return {
        "configured_queues": queues,
        "listens_to_maintenance": "maintenance" in queues,
        "all_known_queues": list(QUEUES),
    }


def _queues(connection: Connection) -> dict[str, dict[str, Any]]:
    ended = {(row.queue_name, row.state): row.n for row in connection.execute(ENDED)}
    return {
        row.queue: {
            "waiting": max(row.waiting, row.jobs_waiting),
            "running": row.jobs_running,
            "snoozed": row.jobs_snoozed,
            "oldest_age_seconds": None if row.oldest_waiting is None else int(row.oldest_waiting.total_seconds()),
            "workers": row.workers,
            "queued": row.waiting + row.delayed,
            "started": row.taken,
            "finished": ended.get((row.queue, "done"), 0),
            "failed": ended.get((row.queue, "rejected"), 0),
        }
        for row in connection.execute(STATES)
    }


def wrong(queues: dict[str, dict[str, Any]], sweep_age: int | None) -> list[tuple[str, str]]:
    """What is wrong: a code and a sentence each."""
    alone = [name for name, queue in queues.items() if queue["waiting"] and not queue["workers"]]
    found = []
    if alone:
        found.append(("queue_left_alone", f"Work waits in {', '.join(alone)}, but no live worker takes from there"))
    if sweep_age is None or sweep_age > SWEEP_SECONDS:
        since = "has run yet" if sweep_age is None else f"has run for {sweep_age} s"
        found.append(("no_sweep", f"No sweep {since}: no live worker is sweeping"))
    return found


class WorkerSettings:
    """The configuration in effect."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @spec.validate(query=NoQuery, resp=responses(WorkerConfigAnswer))
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The queues that live workers listen to"""
        with self._engine.begin() as connection:
            workers = _workers(connection)
        reply(response, **_config(workers), workers=_shown_to(request.context.caller, workers))


class JobsHealth:
    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._limits = {
            "heartbeat_seconds": settings.STALE_HEARTBEAT_SECONDS,
            "update_seconds": settings.STALE_UPDATE_SECONDS,
        }
        self._found = SharedAnswer(self._look)  # it counts all messages of the last hour

    @spec.validate(query=NoQuery, resp=responses(HealthAnswer))
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Queues, live workers and the sweep; 503 if work waits that no worker takes, or no worker sweeps"""
        found = self._found.get()
        body = found | {"workers": _shown_to(request.context.caller, found["workers"])}
        if faults := wrong(found["queues"], found["sweep_age_seconds"]):
            raise ApiError(503, faults[0][0], ". ".join(sentence for _, sentence in faults), **body)
        reply(response, **body)

    def _look(self) -> dict[str, Any]:
        """The answer for an operator."""
        with self._engine.begin() as connection:
            queues, workers = _queues(connection), _workers(connection)
            rest = connection.execute(REST, self._limits).mappings().one()
        return {"queues": queues, "workers": workers, "worker_config": _config(workers), **rest}
