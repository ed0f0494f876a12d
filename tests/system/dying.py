"""`python -m tests.system.dying start`: a process that dies by kill -9 before its nth statement or commit, for every n.

After each death the job's row and its message must both be there, or neither. Prints how often it died.
"""

import os
import signal
import sys
from threading import Event
from typing import Any

import falcon.testing
from sqlalchemy import Engine, event, text

from actors.runtime.base.config import load_settings
from actors.runtime.jobs.context import JobContext
from actors.runtime.jobs.kinds import load_kinds
from actors.runtime.jobs.perform import perform
from service.app import create_app
from service.auth import create_token
from sql.engine import make_engine

TORN = text("""
    SELECT 'a queued job without a message' FROM background_jobs job WHERE status = 'queued' AND NOT EXISTS (
        SELECT FROM dramatiq.queue q WHERE q.message_id = job.message_id AND q.state IN ('queued', 'consumed'))
    UNION ALL
    SELECT 'a message without a queued job' FROM dramatiq.queue q WHERE q.state = 'queued' AND NOT EXISTS (
        SELECT FROM background_jobs job WHERE job.message_id = q.message_id AND job.status = 'queued')
""")


def api(token: str, path: str, body: dict[str, Any]) -> None:
    client = falcon.testing.TestClient(create_app(load_settings()))
    answer = client.simulate_post(path, json=body, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code in (200, 202), answer.text


def requeue(job_id: int) -> None:
    """Claims the job and, as the worker is stopping, puts it back at once."""
    settings = load_settings()
    stopping = Event()
    stopping.set()
    engine = make_engine(settings.DATABASE_URL, application_name="dying")
    perform(job_id, load_kinds()["delete_receipts"], JobContext(engine, settings, lambda: 1, stopping, lambda: None))


def die_at(number: int, operation: Any) -> bool:
    """Forks a process that dies before so many statements; True when it died."""
    child = os.fork()
    if not child:
        left = [number]

        def count(*_anything: Any) -> None:
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1

        event.listen(Engine, "before_cursor_execute", count)
        event.listen(Engine, "commit", count)
        operation()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0, status
    return os.WIFSIGNALED(status)


def main(what: str) -> None:
    engine = make_engine(load_settings().DATABASE_URL, application_name="dying")
    deaths = 0
    while True:
        with engine.begin() as connection:
            connection.execute(text("TRUNCATE businesses, background_jobs, job_events, dramatiq.queue CASCADE"))
            business_id: int = connection.execute(
                text("INSERT INTO businesses (name) VALUES ('B') RETURNING id")
            ).scalar_one()
            connection.execute(
                text("INSERT INTO receipts (business_id, vendor, amount, currency) VALUES (:b, 'v', 1, 'EUR')"),
                {"b": business_id},
            )
            token = create_token(connection, "owner", business_id, 7)
            start = "SELECT id FROM start_job(:b, 'delete_receipts', 'maintenance', '{\"max_id\": 9}', 1, 7, 'dana')"
            job_id = None if what == "start" else connection.execute(text(start), {"b": business_id}).scalar_one()
            if what == "resume":
                connection.execute(text("SELECT pause_job(:id, 'dana')"), {"id": job_id})
                connection.execute(text("DELETE FROM dramatiq.queue"))
            if what == "requeue":
                connection.execute(text("UPDATE dramatiq.queue SET state = 'consumed'"))  # by the worker that will die
        engine.dispose()
        operation = {
            "start": lambda token=token: api(token, "/api/receipts/delete_all", {"confirm": "DELETE"}),
            "resume": lambda token=token, job_id=job_id: api(token, f"/api/jobs/{job_id}/resume", {}),
            "requeue": lambda job_id=job_id: requeue(job_id),
        }[what]
        died = die_at(deaths, operation)
        with engine.connect() as connection:
            torn = connection.execute(TORN).all()
            assert not torn, (deaths, torn)
        engine.dispose()
        if not died:
            sys.stdout.write(f"{deaths}\n")
            return
        deaths += 1


if __name__ == "__main__":
    main(sys.argv[1])
