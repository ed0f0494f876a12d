"""What an operator asks in psql, on big tables: the views and functions of the schema ops, and sql/diagnostics."""

import time
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from bench._arena import table
from service.local.sandbox import sandbox
from sql.engine import lift_time_limits, make_engine
from sql.release import release

RECEIPTS, JOBS, FINISHED, WAITING = 1_000_000, 10_000, 1_000_000, 200_000
TIMES = 3
DIAGNOSTICS = Path(__file__).parent.parent / "sql" / "diagnostics"

# Half of the jobs wait, each with its message, behind the other messages; a tenth of the rest runs.
FILL = """
    INSERT INTO businesses (id, name) SELECT n, 'B' FROM generate_series(1, :jobs) n;
    INSERT INTO receipts (business_id, vendor, amount, currency)
    SELECT 1 + n % :jobs, 'v', n, 'EUR' FROM generate_series(1, :receipts) n;
    INSERT INTO dramatiq.queue (message_id, queue_name, state, mtime, message)
    SELECT gen_random_uuid(), 'maintenance', 'done', now() - n * interval '0.1 s', '{}'
    FROM generate_series(1, :finished) n;
    INSERT INTO dramatiq.queue (message_id, queue_name, state, message)
    SELECT gen_random_uuid(), 'maintenance', 'queued', '{}' FROM generate_series(1, :waiting) n;
    SELECT start_job(n, 'delete_receipts', 'maintenance', '{}', 100, 7, 'bench') FROM generate_series(1, :jobs) n;
    SELECT claim_job(id, :worker) FROM background_jobs WHERE id % 2 = 0;
    SELECT leave_running(id, 1, 'completed', 'completed', 'bench') FROM background_jobs
    WHERE id % 2 = 0 AND id % 20 > 0;
"""
WORKER = """
    INSERT INTO workers (hostname, pid, queues, kinds, release)
    VALUES ('bench', 1, '{maintenance}', '{delete_receipts}', '') RETURNING id
"""
LIVE = "SELECT pg_advisory_lock(worker_lock_space(), :worker)"  # for as long as its session speaks
NAMES = """
    SELECT relname FROM pg_class WHERE relnamespace = 'ops'::regnamespace AND relkind = 'v'
    UNION ALL SELECT proname || '()' FROM pg_proc WHERE pronamespace = 'ops'::regnamespace ORDER BY 1
"""
CALLS = {
    "why()": "(:queued)",
    "checked()": "('who', 'bench', 100)",
    "name_of()": "('bench')",
    "reset_job()": "(:running, 'bench', 'to measure')",
    "retry_purge()": "('bench')",
    **{f"{verb}_job()": "(:queued, 'bench', 'to measure')" for verb in ("pause", "resume", "cancel")},
}
LAST = "SELECT max(id) FROM background_jobs WHERE status = :status"
VERBS = ("pause_job()", "resume_job()", "cancel_job()")  # of one job, one after the other


def run() -> str:
    with sandbox("bench") as environment:
        engine = make_engine(environment["DATABASE_URL"], application_name="bench")
        release(engine)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            _fill(engine, connection)
            asked = {
                what: max(_seconds(connection, query, _jobs(connection)) for _ in range(TIMES))
                for what, query in _looks(connection)
            }
            job = _jobs(connection)
            asked |= {f"ops.{verb}": _seconds(connection, _call(verb), job) for verb in VERBS}
        engine.dispose()
    head = f"{RECEIPTS:,} receipts, {JOBS:,} jobs, {FINISHED:,} finished and {WAITING:,} waiting messages"
    return table((head, "ms"), [(what, f"{seconds * 1000:.0f}") for what, seconds in asked.items()])


def _fill(engine: Engine, connection: Connection) -> None:
    worker = connection.execute(text(WORKER)).scalar_one()
    connection.execute(text(LIVE), {"worker": worker})
    numbers = {"jobs": JOBS, "receipts": RECEIPTS, "finished": FINISHED, "waiting": WAITING, "worker": worker}
    with engine.begin() as filling:
        lift_time_limits(filling)
        filling.execute(text(FILL), numbers)
    connection.execute(text("SET statement_timeout = 0"))
    connection.execute(text("VACUUM ANALYZE"))


def _looks(connection: Connection) -> list[tuple[str, str]]:
    """(what, query): all but the verbs that change what they are called for."""
    names = [name for name in connection.execute(text(NAMES)).scalars() if name not in VERBS]
    scripts = sorted(DIAGNOSTICS.glob("*.sql"))
    return [
        *((f"ops.{name}", _call(name)) for name in names),
        *((f"diagnostics/{script.name}", script.read_text().replace(":job", ":queued")) for script in scripts),
    ]


def _call(name: str) -> str:
    return f"SELECT * FROM ops.{name.replace('()', CALLS.get(name, '()'))}"  # noqa: S608 - from the catalog


def _jobs(connection: Connection) -> dict[str, int]:
    return {status: connection.execute(text(LAST), {"status": status}).scalar_one() for status in ("queued", "running")}


def _seconds(connection: Connection, query: str, jobs: dict[str, int]) -> float:
    """Until the last row has come."""
    statement = text("\n".join(line for line in query.splitlines() if not line.startswith("--")))
    began = time.perf_counter()
    connection.execute(statement, {name: job for name, job in jobs.items() if f":{name}" in query}).all()
    return time.perf_counter() - began
