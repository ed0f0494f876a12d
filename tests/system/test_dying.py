"""kill -9 between any two statements: a job's row and its message are both there, or neither."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


LONG = [pytest.param(name, marks=pytest.mark.scale) for name in ("start", "resume")]


@pytest.mark.parametrize("what", ["requeue", *LONG])
def test_kill_9_between_any_two_statements_leaves_the_job_and_its_message_or_neither(what, environment) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.system.dying", what],
        cwd=ROOT,
        env={**environment, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) >= 4  # a process that never died has shown nothing
