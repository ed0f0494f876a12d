"""`release` and `business`: what they print, and how they refuse."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sql.version import expected_version

ROOT = Path(__file__).parent.parent.parent.parent


def test_it_runs_as_a_process_of_its_own(environment, sql) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service", "business", "Smith & Sons"],
        cwd=ROOT,
        env={**environment, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sql("SELECT id, name FROM businesses") == [{"id": int(done.stdout), "name": "Smith & Sons"}]


def test_business_prints_the_new_id(command, sql) -> None:
    done = command("business", "Smith & Sons")
    assert (done.returncode, done.stderr) == (0, "")
    assert sql("SELECT id, name FROM businesses") == [{"id": int(done.stdout), "name": "Smith & Sons"}]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (None, "DATABASE_URL is not set"),
        ("mysql://u:hunter2@h/d", "expected postgres://"),
        ("postgresql://u:hunter2@127.0.0.1:1/d", "Postgres refused or cannot be reached"),
    ],
)
@pytest.mark.parametrize("arguments", [("release",), ("business", "X"), ("token", "--role", "operator")])
def test_a_wrong_database_url_is_said_at_once(url, says, arguments, command) -> None:
    done = command(*arguments, DATABASE_URL=url)
    assert done.returncode == 1
    assert says in done.stderr
    assert "hunter2" not in done.stderr


def test_release_needs_nothing_but_the_database(command) -> None:
    done = command("release", S3_BUCKET=None, AWS_ACCESS_KEY_ID=None)
    assert (done.returncode, done.stdout) == (0, f"released: schema version {expected_version()}\n")


def test_a_database_url_with_a_newline_at_its_end_is_understood(command, environment) -> None:
    done = command("business", "X", DATABASE_URL=f"{environment['DATABASE_URL']}\n")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_release_refuses_a_database_in_another_encoding(encoding, command, other_encoding) -> None:
    done = command("release", DATABASE_URL=other_encoding(encoding))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"DATABASE_URL: found a database whose encoding is {encoding}, expected UTF8" in done.stderr


def test_release_refuses_a_database_that_is_newer(command, sql) -> None:
    sql("UPDATE longhaul_version SET version_num = '9999'")
    done = command("release")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("DATABASE_URL: found the database at version 9999, expected ")
