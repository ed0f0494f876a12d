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


def test_why_a_job_does_not_move_is_what_ops_why_says(psql, make) -> None:
    script = SCRIPTS[[path.stem for path in SCRIPTS].index("why_is_it_not_moving")]
    told = psql(script, job=make.job(status="failed", last_error="boom"))
    assert told.startswith("failed|")
    assert "It failed: boom" in told
