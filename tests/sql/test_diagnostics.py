"""The scripts for psql and the runbook: each runs, and says first what it answers and costs."""

import re
import subprocess
import time
from pathlib import Path
from typing import get_args

import pytest
from sqlalchemy import text

from service.local.embedded import psql_binary
from service.why import Reason

FOLDER = Path(__file__).parent.parent.parent / "sql" / "diagnostics"
SCRIPTS = sorted(FOLDER.glob("*.sql"))
RUNBOOK = (FOLDER / "README.md").read_text()


@pytest.fixture
def psql(environment):
    def run(script: Path, **variables: object) -> str:
        options = [option for name, value in variables.items() for option in ("-v", f"{name}={value}")]
        done = subprocess.run(
            [psql_binary(), environment["DATABASE_URL"], "-XAt", "-v", "ON_ERROR_STOP=1", *options, "-f", str(script)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_each_script_runs_and_begins_with_its_question_and_its_cost(script, psql, make, worker_id) -> None:
    make.job(status="running", worker_id=worker_id)
    psql(script, job=1)
    first = script.read_text().splitlines()[0]
    assert first.startswith("-- ")
    assert "?" in first
    assert "Cost:" in first
    assert "ops." in script.read_text()


def test_why_a_job_does_not_move_is_what_ops_why_says(psql, make) -> None:
    script = SCRIPTS[[path.stem for path in SCRIPTS].index("why_is_it_not_moving")]
    told = psql(script, job=make.job(status="failed", last_error="boom"))
    assert told.startswith("failed|")
    assert "It failed: boom" in told


def test_the_runbook_names_what_there_is_and_has_a_row_for_each_reason(sql) -> None:
    there = {row["name"] for row in sql("""
        SELECT relname AS name FROM pg_class WHERE relnamespace = 'ops'::regnamespace
        UNION SELECT proname FROM pg_proc WHERE pronamespace = 'ops'::regnamespace""")}  # fmt: skip
    assert set(re.findall(r"\bops\.(\w+)", RUNBOOK)) <= there
    for script in re.findall(r"sql/diagnostics/(\w+\.sql)", RUNBOOK):
        assert (FOLDER / script).exists()
    told = set(re.findall(r"`([a-z_]+)`", RUNBOOK))
    assert set(get_args(Reason)) - told <= {"running", "ended"}  # no trouble


def test_what_the_runbook_tells_to_select_runs(sql, make) -> None:
    job_id = make.job(status="paused")
    for query in sorted(set(re.findall(r"`(SELECT [^`<]*?);?(?: \\gx)?`", RUNBOOK))):
        if "_job(" not in query:
            sql(query.replace("123", str(job_id)))


@pytest.mark.scale
def test_no_view_and_no_script_takes_more_than_a_second(engine, sql, worker_id) -> None:
    """10 000 jobs, a million finished messages and 200 000 waiting ones."""
    sql("UPDATE workers SET queues = '{maintenance}', kinds = '{delete_receipts}'")
    fill = """INSERT INTO dramatiq.queue (message_id, queue_name, state, mtime, message)
              SELECT gen_random_uuid(), 'maintenance', CAST(:state AS dramatiq.state),
                     now() - n * interval '0.1 s', '{}'
              FROM generate_series(1, :n) n"""
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        for state, number in (("done", 1_000_000), ("queued", 200_000)):
            connection.execute(text(fill), {"state": state, "n": number})
        connection.execute(
            text("""
            INSERT INTO businesses (id, name) SELECT n, 'b' FROM generate_series(1000, 11000) n;
            INSERT INTO background_jobs (business_id, job_type, queue, actor, status, finished_at, message_id)
            SELECT 1000 + n, 'delete_receipts', 'maintenance', 'delete_receipts',
                   CASE WHEN n % 2 = 0 THEN 'queued' ELSE 'completed' END, CASE WHEN n % 2 = 1 THEN now() END,
                   gen_random_uuid()
            FROM generate_series(1, 10000) n""")
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM ANALYZE"))
    took = {}
    for script in SCRIPTS:
        began = time.monotonic()
        statement = "\n".join(line for line in script.read_text().splitlines() if not line.startswith("--"))
        sql(statement.rstrip().removesuffix(";").replace(":job", "1"))
        took[script.stem] = round(time.monotonic() - began, 2)
    assert max(took.values()) < 1, took
