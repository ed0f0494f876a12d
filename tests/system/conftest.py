"""A business and its owner, and workers whose messages can be counted, as real processes."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from service.local.client import Client
from service.local.processes import stop_process, wait_until
from tests.system import inserting

ROOT = Path(__file__).parent.parent.parent
THREADS = 4

START = "/api/receipts/delete_all"
CONFIRMED = {"confirm": "DELETE"}


@dataclass
class Owner:
    business_id: int
    client: Client
    ids: list[int]  # of the business's receipts

    def start(self) -> int:
        """Starts a delete job; returns its id."""
        answer = self.client.post(START, CONFIRMED)
        assert answer.status == 202, answer
        return int(answer.body["job_id"])

    def job(self, job_id: int) -> dict[str, Any]:
        answer = self.client.get(f"/api/jobs/{job_id}")
        assert answer.status == 200, answer
        return dict(answer.body)

    def events(self, job_id: int) -> list[dict[str, Any]]:
        return list(self.client.get(f"/api/jobs/{job_id}/events?limit=500").body["events"])

    def wait_for(self, job_id: int, status: str, seconds: float = 60) -> dict[str, Any]:
        """Polls as a front end does; meanwhile progress may only grow."""
        seen = [0]

        def reached() -> bool:
            job = self.job(job_id)
            assert job["processed"] >= seen[-1], "progress went back"
            seen.append(job["processed"])
            return bool(job["status"] == status)

        wait_until(reached, seconds, f"job {job_id} to be {status}")
        return self.job(job_id)

    def wait_for_progress(self, job_id: int, beyond: int = 0) -> dict[str, Any]:
        wait_until(lambda: self.job(job_id)["processed"] > beyond, 30, f"job {job_id} to get beyond {beyond}")
        return self.job(job_id)


@pytest.fixture
def owner(web: Callable[..., Client], make: Any) -> Callable[[int], Owner]:
    """owner(200): of a new business with so many receipts."""

    def new(receipts: int) -> Owner:
        business_id = make.business()
        return Owner(business_id, web(make.token(business_id)), make.receipts(business_id, receipts))

    return new


FILL = """
    INSERT INTO dramatiq.queue (message_id, queue_name, state, mtime, message)
    SELECT id, 'low', 'queued', now(), jsonb_build_object('queue_name', 'low', 'actor_name', CAST(:actor AS text),
        'args', jsonb_build_array(n), 'kwargs', '{}'::jsonb, 'options', '{}'::jsonb, 'message_id', id,
        'message_timestamp', 0)
    FROM (SELECT n, gen_random_uuid() AS id FROM generate_series(:first, :last) n) ids
"""


@dataclass
class Inserting:
    """Worker processes whose actor inserts a row for each message (inserting.py)."""

    environment: dict[str, str]
    sql: Callable[..., list[dict[str, Any]]]
    log: Path
    number: int = 0
    processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def send(self, number: int) -> None:
        """So many more."""
        self.sql("CREATE TABLE IF NOT EXISTS effects (id bigserial, n int, process int)")
        self.sql(FILL, first=self.number + 1, last=self.number + number, actor="insert")
        self.number += number

    def hurry(self) -> None:
        """The last try of what was lost twice comes after half a minute, which is not waited for."""
        self.sql("UPDATE dramatiq.queue SET message = message #- '{options,eta}', queue_name = 'low' "
                 "WHERE losses = 2 AND state = 'queued'")  # fmt: skip

    def all_done_in_a_hurry(self) -> bool:
        self.hurry()
        return self.all_done()

    def send_killer(self) -> None:
        """A message that kills the process that works on it."""
        self.sql(FILL, first=1, last=1, actor="kill")

    def start(self) -> "subprocess.Popen[bytes]":
        process = inserting.start(self.environment, self.log)
        self.processes.append(process)
        return process

    def effects(self) -> dict[str, int]:
        return self.sql("SELECT count(*) AS rows, count(DISTINCT n) AS messages FROM effects")[0]

    def busy(self) -> "subprocess.Popen[bytes]":
        """Of the processes that live, the one that did the last message."""
        alive = {process.pid: process for process in self.processes if process.poll() is None}
        last = "SELECT process FROM effects WHERE process = ANY(:alive) ORDER BY id DESC LIMIT 1"
        return alive[self.sql(last, alive=list(alive))[0]["process"]]

    def all_done(self) -> bool:
        """Asked of a server that may be away."""
        try:
            (row,) = self.sql("SELECT count(*) AS n FROM dramatiq.queue WHERE state = 'done'")
        except DBAPIError:
            return False
        return bool(row["n"] == self.number)

    def send_until_some_are_in_hand(self, number: int, seconds: float = 0) -> None:
        """So many more, or again as many where all of them are done before anybody has looked."""
        while True:
            self.send(number)
            self.wait_for_progress()
            Event().wait(seconds)
            if not self.all_done():
                return

    def wait_for_progress(self) -> None:
        before = self.effects()["messages"]
        wait_until(lambda: self.all_done() or self.effects()["messages"] > before, 30, "work to go on")


@pytest.fixture(name="inserting")
def _inserting(environment, sql, tmp_path) -> Iterator[Inserting]:
    site = Inserting(environment, sql, tmp_path / "inserting.log")
    yield site
    for process in site.processes:
        stop_process(process, 0)
