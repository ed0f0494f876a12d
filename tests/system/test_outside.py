"""A kind that calls a slow and moody server, through everything that can happen to its worker meanwhile."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from service.local.processes import signal_group, stop_process, wait_until

ROOT = Path(__file__).parent.parent.parent
ITEMS = 40  # eight batches


class Server(ThreadingHTTPServer):
    """Answers as its script says: by path, what to do at the first calls of it; later ones are answered at once."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: dict[str, list[object]] = {}
        self.calls: list[str] = []
        self.closing = Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.calls.append(self.path)
        script = self.server.script.get(self.path, [])
        step = script.pop(0) if script else 200
        if isinstance(step, float):
            self.server.closing.wait(step)
            step = 200
        self.send_response(int(step))  # type: ignore[call-overload]
        if step == 429:
            self.send_header("Retry-After", "40")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()


class Watcher(Thread):
    """Looks four times a second: is a transaction left open, is a heartbeat old?"""

    def __init__(self, sql, job_id: int) -> None:
        super().__init__(daemon=True)
        self._sql, self._job_id = sql, job_id
        self.ended = Event()
        self.oldest_beat = 0.0
        self.longest_transaction = 0.0

    def run(self) -> None:
        while not self.ended.wait(0.25):
            (row,) = self._sql(
                """SELECT CASE status WHEN 'running' THEN extract(epoch FROM clock_timestamp() - heartbeat_at)
                               ELSE 0 END AS beat,
                          (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)
                           FROM pg_stat_activity
                           WHERE application_name LIKE 'longhaul worker%' AND datname = current_database()
                             AND backend_type = 'client backend') AS transaction
                   FROM background_jobs WHERE id = :id""",
                id=self._job_id,
            )
            self.oldest_beat = max(self.oldest_beat, float(row["beat"]))
            self.longest_transaction = max(self.longest_transaction, float(row["transaction"]))


class Worker:
    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment, self._log = environment, log
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.system.outside"],
                cwd=ROOT,
                env={**self._environment, "PATH": os.environ["PATH"], "WORKER_THREADS": "1", "LOG_FORMAT": "json"},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def signal(self, number: signal.Signals) -> float:
        """Seconds until it was gone; then another one is started."""
        began = time.monotonic()
        signal_group(self.process, number)
        self.process.wait(30)
        gone = time.monotonic() - began
        self.process = self._start()
        return gone


@pytest.mark.scale
@pytest.mark.timeout(400)
def test_a_kind_that_calls_a_slow_server_keeps_its_promises_whatever_happens(
    environment, server, make, sql, job_row, tmp_path
) -> None:
    sql("CREATE TABLE effects (n int)")
    business_id = make.business()
    server.script = {
        "/1/1": [12.0],  # the two calls of one batch take 25 s together
        "/1/2": [13.0],
        "/6/1": [12.0],  # ended by SIGTERM
        "/11/2": [12.0],  # ended by kill -9
        "/16/1": [429],
        "/21/1": [500, 500],
        "/26/1": [20.0],  # longer than any call may take
        "/31/1": [12.0],  # ended by a pause
        "/36/2": [12.0],  # ended by a cancel
    }
    params = json.dumps({"url": server.url, "items": ITEMS})
    start = "SELECT id FROM start_job(:b, 'calls_slowly', 'low', CAST(:params AS jsonb), NULL, 7, 'dana')"
    (job,) = sql(start, b=business_id, params=params)
    job_id = job["id"]
    worker, watcher = Worker(environment, tmp_path / "worker.log"), Watcher(sql, job_id)
    watcher.start()

    def wait_for_call(path: str, seconds: float = 60) -> None:
        wait_until(lambda: path in server.calls, seconds, f"the call of {path}")

    def wait_for(status: str, seconds: float = 30) -> dict:
        wait_until(lambda: job_row(job_id)["status"] == status, seconds, f"the job to be {status}")
        return job_row(job_id)

    try:
        wait_for_call("/6/1")
        assert job_row(job_id)["processed"] == 5
        assert worker.signal(signal.SIGTERM) < 20
        wait_for_call("/11/2")
        worker.signal(signal.SIGKILL)

        wait_for_call("/16/1")
        row = wait_for("queued")
        assert row["waiting_for"] == "the server asked to wait"
        assert 30 < (row["wait_until"] - row["updated_at"]).total_seconds() <= 41
        # Its thread, the only one, is free meanwhile; and a deploy changes nothing of it.
        other = sql("SELECT id FROM start_job(:b, 'delete_receipts', 'low', '{\"max_id\"\\: 9}', 0, 7, 'dana')",
                    b=business_id)[0]["id"]  # fmt: skip
        wait_until(lambda: job_row(other)["status"] == "completed", 30, "the other job to be done meanwhile")
        worker.signal(signal.SIGTERM)
        assert job_row(job_id)["wait_until"] == row["wait_until"]

        wait_for_call("/31/1", 120)
        sql("SELECT pause_job(:id, 'dana')", id=job_id)
        assert wait_for("paused", 12)["processed"] == 30
        server.calls.clear()
        sql("SELECT resume_job(:id, 'dana')", id=job_id)
        wait_for_call("/36/2")
        sql("SELECT cancel_job(:id, 'dana')", id=job_id)
        row = wait_for("cancelled", 12)
    finally:
        watcher.ended.set()
        stop_process(worker.process, 0)
    assert (row["processed"], row["succeeded"], row["failed_count"]) == (35, 35, 0)
    assert [row["n"] for row in sql("SELECT n FROM effects ORDER BY n")] == list(range(1, 36))
    assert watcher.oldest_beat < 30
    assert watcher.longest_transaction < 2
    assert sql("SELECT count(*) AS n FROM job_events WHERE event = 'snoozed'") == [{"n": 1}]
