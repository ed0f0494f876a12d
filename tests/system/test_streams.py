"""Worker and web processes whose output nobody reads, or that were started without one."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from service.local.client import Client
from service.local.embedded import free_port
from service.local.processes import ROOT, procfile, signal_group, start_process, stop_process, wait_until
from tests.conftest import answers


@pytest.fixture
def unread(environment) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """unread("worker"): its stdout and stderr are one pipe, full already, and nobody reads it."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        while True:
            os.write(write, b"." * 4095 + b"\n")
    except BlockingIOError:
        os.set_blocking(write, True)
    with ExitStack() as defer:

        def start_one(name: str, **changes: str) -> "subprocess.Popen[bytes]":
            process = start_process(name, {**environment, "LOG_FORMAT": "json", **changes}, write)
            defer.callback(stop_process, process, 0)
            return process

        yield start_one
    os.close(read)
    os.close(write)


@pytest.fixture
def closed(environment) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """closed("worker", "1>&-"): started without some of its three streams."""
    with ExitStack() as defer:

        def start_one(name: str, streams: str, **changes: str) -> "subprocess.Popen[bytes]":
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            process = subprocess.Popen(
                ["sh", "-c", f"exec {procfile()[name]} {streams}"],
                cwd=ROOT,
                env={"PATH": path, "WEB_BIND": "127.0.0.1", **environment, **changes},
                start_new_session=True,
            )
            defer.callback(stop_process, process, 0)
            return process

        yield start_one


START = """SELECT id FROM start_job(:b, 'delete_receipts', 'maintenance', '{"max_id"\\:1000000}', 3, 7, 'user:7')"""


def test_a_worker_whose_output_nobody_reads_does_its_job_and_obeys_sigterm(unread, make, sql, job_row) -> None:
    business_id = make.business()
    make.receipts(business_id, 500)
    worker = unread("worker", THROTTLE_MS="0", BATCH_SIZE="1")  # a thousand lines: more than any buffer takes
    wait_until(lambda: sql("SELECT FROM workers"), 30, "the worker")
    (job,) = sql(START, b=business_id)
    wait_until(lambda: job_row(job["id"])["status"] == "completed", 30, "the job")
    assert job_row(job["id"])["succeeded"] == 500
    signal_group(worker, signal.SIGTERM)
    assert worker.wait(30) == 0
    assert sql("SELECT stopped_at IS NOT NULL AS stopped FROM workers") == [{"stopped": True}]


def test_sigterm_to_the_parent_alone_ends_a_worker_whose_output_nobody_reads(unread, sql) -> None:
    worker = unread("worker")
    wait_until(lambda: sql("SELECT FROM workers"), 30, "the worker")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0


def test_a_web_process_whose_output_nobody_reads_answers_and_obeys_sigterm(unread) -> None:
    port = free_port()
    web = unread("web", PORT=str(port))
    client = Client(f"http://127.0.0.1:{port}")
    wait_until(lambda: answers(client), 30, "the web process")
    for _ in range(600):
        assert client.get("/readyz").status == 200
    web.send_signal(signal.SIGTERM)
    assert web.wait(30) == 0


def standard_streams(process: "subprocess.Popen[bytes]") -> set[str]:
    """What stands behind the three streams of a process and all that it has started."""
    parent = psutil.Process(process.pid)
    processes = [parent, *parent.children(recursive=True)]
    return {os.readlink(f"/proc/{one.pid}/fd/{number}") for one in processes for number in (0, 1, 2)}


CLOSED = ["1>&-", "0<&- 1>&- 2>&-"]


@pytest.mark.parametrize("streams", CLOSED)
def test_a_worker_that_was_started_without_stdout_works_and_writes_into_nothing_else(
    streams, closed, make, sql
) -> None:
    business_id = make.business()
    make.receipts(business_id, 5)
    worker = closed("worker", streams)
    wait_until(lambda: sql("SELECT FROM workers"), 30, "the worker")
    assert not [name for name in standard_streams(worker) if name.startswith(("socket:", "anon_inode:"))]
    sql(START, b=business_id)
    wait_until(lambda: sql("SELECT FROM background_jobs WHERE status = 'completed'"), 30, "the job")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0


@pytest.mark.parametrize("streams", CLOSED)
def test_a_web_process_started_without_stdout_works_and_writes_into_nothing_else(streams, closed) -> None:
    port = free_port()
    web = closed("web", streams, PORT=str(port))
    client = Client(f"http://127.0.0.1:{port}")
    wait_until(lambda: answers(client), 30, "the web process")
    assert client.get("/readyz").status == 200
    assert not [name for name in standard_streams(web) if name.startswith(("socket:", "anon_inode:"))]
    web.send_signal(signal.SIGTERM)
    assert web.wait(30) == 0
