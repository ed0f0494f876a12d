"""Polls of a job, as from a page: how many a second, beside a bare Falcon that makes one query.

The bare Falcon runs twice: on gunicorn's threads with SQLAlchemy's own engine, as anybody would write it, and on our
web server with our engine.

Two processes and 16 connections each, in short turns; the median of paired ratios. With and without If-None-Match,
which has the tag of the last response with a body, as a browser sends it.
"""

import os
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from bench._site import Site, site
from service.local.embedded import free_port
from service.local.processes import ROOT, procfile, stop_process, wait_until

CONNECTIONS = 16
TAG = re.compile(rb"(?i)\r\netag: (.*?)\r")
SECONDS = 2.0
TURNS = 7
STOCK, OURS = "bare Falcon, on gunicorn's threads", "bare Falcon, on our web server"


def run() -> str:
    with site(workers=1, THROTTLE_MS=1000, BATCH_SIZE=10, READS_PER_SECOND=0, WEB_CONCURRENCY=2) as place:
        owner = place.owner(receipts=100_000)
        job_id = owner.post("/api/receipts/delete_all", {"confirm": "DELETE"}).body["job_id"]
        wait_until(lambda: owner.get(f"/api/jobs/{job_id}").body["status"] == "running", 20, "the job to run")
        with _bare(place, STOCK) as stock, _bare(place, OURS) as ours:
            rates = _rates(place.port, stock, ours, job_id, owner.headers["Authorization"])
    turns = f"{CONNECTIONS} connections, 2 processes, median of {TURNS} turns"
    lines = [f"| {turns} | polls/s | to the first | to the second |", "|---|---|---|---|"]
    for name, found in rates.items():
        ratios = [_ratio(found, rates[bare]) for bare in (STOCK, OURS)]
        lines.append(f"| {name} | {statistics.median(found):,.0f} | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    return "\n".join(lines)


def _ratio(rates: list[float], others: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(rates, others, strict=True))


@contextmanager
def _bare(place: Site, which: str) -> Iterator[int]:
    """The web process's own command line, with another application; yields its port."""
    ours = procfile()["web"]
    command = ours.replace('"service.app:create_app()"', "bench._bare_poll:app")
    if which == STOCK:
        command = command.replace("_bare_poll:app", "_bare_poll:plain").replace("service.server.Worker", "gthread")
    port = free_port()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **place.environment, "PATH": path, "WEB_BIND": "127.0.0.1", "PORT": str(port)}
    process = subprocess.Popen(
        ["sh", "-c", f"exec {command}"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(lambda: _answers(port), 20, "the bare process")
        yield port
    finally:
        stop_process(process)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _rates(port: int, stock: int, ours: int, job_id: int, authorization: str) -> dict[str, list[float]]:
    head = f"GET /api/jobs/{job_id} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n".encode()
    kinds = {
        STOCK: (stock, False),
        OURS: (ours, False),
        "Longhaul": (port, False),
        "Longhaul, If-None-Match": (port, True),
    }
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(TURNS):
        for name, (to, is_conditional) in kinds.items():
            rates[name].append(_rate(to, head, is_conditional))
    return rates


def _rate(port: int, head: bytes, is_conditional: bool) -> float:
    ends_at = time.perf_counter() + SECONDS

    def poll(_number: int) -> int:
        asked = 0
        request = head + b"\r\n"
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            while time.perf_counter() < ends_at:
                answer = _ask(client, request)
                asked += 1
                if is_conditional and answer.startswith(b"HTTP/1.1 200"):
                    request = head + b"If-None-Match: " + TAG.findall(answer)[0] + b"\r\n\r\n"
        return asked

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return sum(pool.map(poll, range(CONNECTIONS))) / SECONDS


def _some(client: socket.socket) -> bytes:
    got = client.recv(65536)
    if not got:
        raise ConnectionError("the connection was closed")
    return got


def _ask(client: socket.socket, request: bytes) -> bytes:
    """The whole response; read by hand, because a real client would cost more than the server."""
    client.sendall(request)
    answer = _some(client)
    while b"\r\n\r\n" not in answer:
        answer += _some(client)
    head, _, body = answer.partition(b"\r\n\r\n")
    found = re.search(rb"(?i)content-length: (\d+)", head)
    while found and len(body) < int(found[1]):
        body += _some(client)
    assert head.split()[1] in (b"200", b"304"), answer
    return head + b"\r\n\r\n" + body
