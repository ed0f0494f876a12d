"""The delete loop without a throttle, against a bare psycopg2 loop that runs the same statements."""

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Event
from typing import Any

import psycopg2
from sqlalchemy import Engine, text

from actors.delete_receipts import delete_receipts
from actors.runtime.base.config import load_settings
from actors.runtime.base.log import set_up_logging
from actors.runtime.jobs.context import JobContext
from actors.runtime.jobs.perform import perform
from service.local.sandbox import sandbox
from sql.engine import make_engine
from sql.release import release

RECEIPTS = 5_000
BATCH = 50
RUNS = 15  # short turns, and the median of paired ratios: other load on the machine affects both of a pair


def run() -> str:
    set_up_logging("json")
    with sandbox("bench") as environment:
        settings = load_settings({**environment, "THROTTLE_MS": "0", "BATCH_SIZE": str(BATCH)})
        engine = make_engine(settings.DATABASE_URL, application_name="bench")
        release(engine)
        ours, bare = [], []
        for _ in range(RUNS):
            ours.append(RECEIPTS / _ours(engine, settings))
            bare.append(RECEIPTS / _bare(engine, settings.DATABASE_URL))
        engine.dispose()
    ratio = statistics.median(one / other for one, other in zip(ours, bare, strict=True))
    return (
        f"| {RECEIPTS:,} receipts, batch {BATCH}, no attachments, median of {RUNS} | receipts/s |\n|---|---|\n"
        f"| Longhaul | {statistics.median(ours):,.0f} |\n| bare psycopg2 loop | {statistics.median(bare):,.0f} |\n"
        f"| **ratio** | **{ratio:.2f}** |\n"
    )


def _new_job(engine: Engine) -> dict[str, Any]:
    with engine.begin() as connection:
        business_id = connection.execute(text("INSERT INTO businesses (name) VALUES ('b') RETURNING id")).scalar_one()
        connection.execute(
            text("""INSERT INTO receipts (business_id, vendor, amount, currency)
                    SELECT :b, 'v', n, 'EUR' FROM generate_series(1, :n) n"""),
            {"b": business_id, "n": RECEIPTS},
        )
        start = (
            "SELECT * FROM start_job(:b, 'delete_receipts', 'maintenance', '{\"max_id\": 1000000000}', :n, 1, 'bench')"
        )
        job = connection.execute(text(start), {"b": business_id, "n": RECEIPTS}).mappings().one()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE receipts"))
    return dict(job)


def _ours(engine: Engine, settings: Any) -> float:
    job = _new_job(engine)
    place = JobContext(engine, settings, lambda: 1, Event(), lambda: None)
    began = time.perf_counter()
    with _log_to_nowhere():
        perform(job["id"], delete_receipts, place)
    return time.perf_counter() - began


@contextmanager
def _log_to_nowhere() -> Iterator[None]:
    """The lines are made and written as in production, but not shown."""
    stdout, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
        os.close(nowhere)


def _bare(engine: Engine, url: str) -> float:
    """The same four statements per batch, one commit each, nothing else."""
    job = _new_job(engine)
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM claim_job(%s, 1)", (job["id"],))
        connection.commit()
        last_id, began = 0, time.perf_counter()
        while True:
            cursor.execute(
                """SELECT id FROM receipts WHERE business_id = %s AND id > %s AND id <= 1000000000 AND NOT is_deleted
                   ORDER BY id LIMIT %s""",
                (job["business_id"], last_id, BATCH),
            )
            ids = [row[0] for row in cursor]
            if not ids:
                break
            last_id, literal = ids[-1], f"{{{','.join(map(str, ids))}}}"
            cursor.execute(
                """UPDATE receipts SET is_deleted = true, deleted_at = now(), deleted_by_job_id = %s
                   WHERE id = ANY(%s) AND business_id = %s AND NOT is_deleted""",
                (job["id"], literal, job["business_id"]),
            )
            cursor.execute(
                """UPDATE attachments SET purge_requested_at = now(), purge_after = now(), purge_job_id = %s
                   WHERE receipt_id = ANY(%s) AND business_id = %s AND purge_requested_at IS NULL""",
                (job["id"], literal, job["business_id"]),
            )
            cursor.execute(
                """UPDATE background_jobs
                   SET cursor = %s, processed = processed + %s, succeeded = succeeded + %s,
                       heartbeat_at = clock_timestamp(), updated_at = clock_timestamp()
                   WHERE id = %s AND attempt = 1 AND status = 'running' RETURNING requested""",
                (f'{{"last_id": {last_id}}}', len(ids), len(ids), job["id"]),
            )
            connection.commit()
        return time.perf_counter() - began
