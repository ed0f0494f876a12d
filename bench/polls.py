"""A status poll of a job with a million attachments, beside one with none: idle, and while the job runs."""

import statistics
import time

from sqlalchemy import Engine, text

from bench._site import percentiles, site
from service.local.client import Client

ATTACHMENTS = 1_000_000
POLLS = 300

FILL = """
    WITH made AS (
        INSERT INTO receipts (business_id, vendor, amount, currency, is_deleted, deleted_at)
        SELECT :business, 'v', 1, 'EUR', true, now() FROM generate_series(1, :number) RETURNING id)
    INSERT INTO attachments (receipt_id, business_id, object_key, content_type)
    SELECT id, :business, 'bench/' || id || '.pdf', 'application/pdf' FROM made
"""
# Far in the future, so that no worker purges them during the run.
ASK = """
    UPDATE attachments SET purge_requested_at = now(), purge_after = now() + interval '1 day', purge_job_id = :job
    WHERE business_id = :business
"""


def run() -> str:
    with site(workers=1, THROTTLE_MS=100, BATCH_SIZE=10, READS_PER_SECOND=0) as place:
        jobs = {}
        for name in ("none", "a million"):
            owner = place.owner(receipts=20_000)
            jobs[name] = (owner, owner.post("/api/receipts/delete_all", {"confirm": "DELETE"}).body["job_id"])
        owner, job_id = jobs["a million"]
        _fill(place.engine, job_id)
        running = _polls(jobs)
        for client, number in jobs.values():
            client.post(f"/api/jobs/{number}/pause")
        time.sleep(2)
        idle = _polls(jobs)
    lines = [f"| {POLLS} polls each, in turns | p50 ms | p99 ms | ratio of p50 |", "|---|---|---|---|"]
    for state, times in (("running", running), ("idle", idle)):
        base = statistics.median(times["none"])
        for name in ("none", "a million"):
            p50, p99, _ = percentiles(times[name])
            lines.append(f"| {state}, attachments: {name} | {p50 * 1000:.1f} | {p99 * 1000:.1f} | {p50 / base:.2f} |")
    return "\n".join(lines)


def _fill(engine: Engine, job_id: int) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        find = text("SELECT business_id FROM background_jobs WHERE id = :job")
        business = connection.execute(find, {"job": job_id}).scalar_one()
        connection.execute(text(FILL), {"business": business, "number": ATTACHMENTS})
        connection.execute(text(ASK), {"business": business, "job": job_id})
        connection.execute(text("VACUUM ANALYZE attachments"))


def _polls(jobs: dict[str, tuple[Client, int]]) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(POLLS):
        for name, (client, job_id) in jobs.items():
            began = time.perf_counter()
            assert client.get(f"/api/jobs/{job_id}").status == 200
            times[name].append(time.perf_counter() - began)
    return times
