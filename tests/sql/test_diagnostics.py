"""The scripts for psql: each runs, and says first what it answers; and the one that says why a job does not move."""

import subprocess
from pathlib import Path

import pytest

from service.local.embedded import psql_binary

SCRIPTS = sorted(Path(__file__).parent.parent.parent.glob("sql/diagnostics/*.sql"))


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
    comment = [line for line in script.read_text().splitlines() if line.startswith("--")]
    assert "?" in comment[0]
    assert any("Cost:" in line for line in comment)


def test_why_a_job_does_not_move_is_answered_for_each_reason(psql, make, sql, worker_id) -> None:
    def answer(job_id: int) -> str:
        return psql(SCRIPTS[[path.stem for path in SCRIPTS].index("why_is_it_not_moving")], job=job_id).strip()

    queued = make.job()
    sql("SELECT send_job_message(:id)", id=queued)
    assert "No live worker listens to the queue maintenance" in answer(queued)
    sql("UPDATE workers SET queues = '{maintenance}'")
    assert "It waits its turn: 0 messages are ahead" in answer(queued)
    sql("UPDATE dramatiq.queue SET state = 'consumed'")
    assert "A worker has its message and is about to begin" in answer(queued)
    sql("DELETE FROM dramatiq.queue")
    assert "No message would wake it" in answer(queued)
    assert "Its worker is dead" in answer(make.job(status="running", worker_id=worker_id + 1))
    assert "It is moving" in answer(make.job(status="running", worker_id=worker_id))
    running = make.job(status="running", worker_id=worker_id, requested="cancel")
    assert "It stops (cancel) at the end of the batch" in answer(running)
    backing_off = make.job(status="running", worker_id=worker_id, waiting_for="deadlock detected", last_error="a row")
    assert "It waits to try again: deadlock detected" in answer(backing_off)
    assert "Somebody paused it" in answer(make.job(status="paused"))
    assert "It failed: boom" in answer(make.job(status="failed", last_error="boom"))
    assert "It has ended: completed" in answer(make.job(status="completed"))
