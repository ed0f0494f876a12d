"""From the request that starts a deletion to its first committed batch, on an idle worker."""

import time

from sqlalchemy import text

from bench._arena import table
from bench._site import Site, percentiles, site
from service.local.processes import wait_until

TRIES = 100


def run() -> str:
    with site(workers=1) as place:
        times = [start(place) for _ in range(TRIES)]
    return table((f"POST to the first committed batch, {TRIES} times", "p50", "p99", "most"), [
        ("ms", *(f"{seconds * 1000:.0f}" for seconds in percentiles(times)))])  # fmt: skip


def start(place: Site) -> float:
    owner = place.owner(50)
    began = time.perf_counter()
    job_id = owner.post("/api/receipts/delete_all", {"confirm": "DELETE"}).body["job_id"]
    with place.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        progress = text("SELECT processed FROM background_jobs WHERE id = :id")
        while not connection.execute(progress, {"id": job_id}).scalar_one():
            time.sleep(0.001)
        took = time.perf_counter() - began
        status = text("SELECT status = 'completed' FROM background_jobs WHERE id = :id")
        wait_until(lambda: connection.execute(status, {"id": job_id}).scalar_one(), 10, "the end")
    return took
