"""The command line: what it prints, and how it refuses."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest
from psycopg2.extensions import parse_dsn

from service.__main__ import main
from sql.version import expected_version

ROOT = Path(__file__).parent.parent.parent


@dataclass
class Done:
    returncode: object
    stdout: str
    stderr: str


@pytest.fixture
def command(environment, capsys):
    """command("token", …): runs it with this environment only; NAME=None in `changes` leaves a variable out."""

    def run(*arguments: object, **changes: str | None) -> Done:
        given = {**environment, "PATH": os.environ["PATH"], **changes}
        given = {name: value for name, value in given.items() if value is not None}
        with patch.dict(os.environ, given, clear=True), patch.object(sys, "argv", ["service", *map(str, arguments)]):
            try:
                code: object = main()
            except SystemExit as end:
                code = end.code
        return Done(code, *capsys.readouterr())

    return run


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


def test_token_prints_only_the_token_and_it_works(command, make, api, sql) -> None:
    business_id = make.business()
    done = command("token", "--business", business_id, "--user", 7, "--role", "owner")
    assert (done.returncode, done.stderr) == (0, "")
    headers = {"Authorization": f"Bearer {done.stdout.strip()}"}
    assert api().get("/api/jobs", headers=headers).status_code == 200
    assert sql("SELECT business_id, user_id, role FROM api_tokens") == [
        {"business_id": business_id, "user_id": 7, "role": "owner"}
    ]


def test_an_operators_token_takes_no_business(command, make, sql) -> None:
    assert command("token", "--role", "operator").returncode == 0
    assert command("token", "--role", "operator", "--business", make.business()).returncode == 1
    assert [row["role"] for row in sql("SELECT role FROM api_tokens")] == ["operator"]


def test_tokens_are_listed_revoked_and_rotated_without_a_word_of_what_is_secret(command, make, api, sql) -> None:
    business_id = make.business()
    first = command("token", "--business", business_id, "--user", 7, "--role", "owner", "--name", "till").stdout.strip()
    token_id = int(first.split("_")[1])
    assert first.startswith(f"lh_{token_id}_")

    def status(token: str) -> int:
        return api().get("/api/jobs", headers={"Authorization": f"Bearer {token}"}).status_code

    assert status(first) == 200
    listed = command("token", "list", "--business", business_id).stdout
    assert first.split("_", 2)[2] not in listed
    assert "till" in listed
    (row,) = sql("SELECT expires_at::date - now()::date AS days, issued_by FROM api_tokens")
    assert row["days"] == 365
    assert "@" in row["issued_by"]

    second = command("token", "rotate", token_id).stdout.strip()
    assert (status(first), status(second)) == (401, 200)
    assert sql("SELECT user_id, role, name FROM api_tokens WHERE revoked_at IS NULL") == [
        {"user_id": 7, "role": "owner", "name": "till"}
    ]
    assert command("token", "rotate", token_id).returncode == 1
    lifetimes = sql("SELECT expires_at::date - created_at::date AS days FROM api_tokens")
    assert [row["days"] for row in lifetimes] == [365, 365]
    second_id = int(second.split("_")[1])
    for _ in range(2):  # again it changes nothing
        assert command("token", "revoke", second_id).stdout == f"revoked: token {second_id}\n"
    assert status(second) == 401
    assert command("token", "list", "--business", make.business()).stdout.splitlines()[-1].startswith("id ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("token", "--role", "owner"), "needs --business and --user"),
        (("token", "--role", "owner", "--business", "5", "--user", "7"), "there is no business 5"),
        (("token", "--role", "king", "--business", "5"), "invalid choice: 'king'"),
        (("token", "--role", "owner", "--business", "9223372036854775808", "--user", "7"), "expected a number from 0"),
        (("token",), "needs --role"),
        (("token", "revoke"), "expected one: token revoke ID"),
        (("token", "rotate", "999"), "there is no token 999"),
        (("token", "revoke", "999"), "there is no token 999"),
        (("token", "list", "999"), "found an id"),
        (("token", "--role", "operator", "--name", "\x1b[31m"), "printable characters"),
        (("token", "--role", "operator", "--expires", "9999"), "expected at most 3650"),
        (("token", "--role", "operator", "--expires", "-1"), "expected a number"),
        (("business", " "), "expected 1 to 200"),
        (("import", "no-such-file.jsonl", "--business", "5"), "there is no business 5"),
        (("frobnicate",), "invalid choice"),
        ((), "required"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(arguments, says, command) -> None:
    done = command(*arguments)
    assert done.returncode != 0
    assert done.stdout == ""
    assert says in done.stderr


def test_import_loads_names_what_it_could_not_read_and_exits_with_1(command, make, tmp_path, sql) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text('{"vendor": "X", "amount": 1, "date": "2018-01-01"}\n{"vendor": "X", "date": "2018-01-01"}\n')
    done = command("import", file, "--business", make.business(), "--currency", "eur")
    assert done.returncode == 1
    assert f"{file}, line 2: amount or total is missing" in done.stderr
    assert "1 receipts made, 0 were there already, 0 files uploaded, 1 lines could not be read" in done.stdout
    assert sql("SELECT currency FROM receipts") == [{"currency": "EUR"}]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"S3_BUCKET": "no-such-bucket"}, "does not exist; see S3_BUCKET"),
        ({"AWS_SECRET_ACCESS_KEY": "hunter2"}, "refuses our credentials"),
        ({"S3_ENDPOINT_URL": "http://127.0.0.1:1"}, "cannot be reached"),
        ({"S3_BUCKET": None}, "S3_BUCKET is not set"),
    ],
)
def test_import_into_a_bucket_that_cannot_be_used_does_nothing(changes, says, command, make, tmp_path, sql) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text('{"vendor": "X", "amount": 1, "date": "2018-01-01"}\n')
    done = command("import", file, "--business", make.business(), **changes)
    assert done.returncode == 1
    assert says in done.stderr
    assert "hunter2" not in done.stderr
    assert sql("SELECT FROM receipts") == []


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_import_of_a_file_that_is_not_there_says_so(name, command, make, tmp_path) -> None:
    done = command("import", tmp_path / name, "--business", make.business())
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr


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


@pytest.fixture
def psql(command, monkeypatch):
    """What psql would have been started with: its command line, and PGPASSWORD."""
    started: list[tuple[str, str | None]] = []
    monkeypatch.setattr("os.execv", lambda _path, words: started.append((words[1], os.environ.get("PGPASSWORD"))))

    def run(url: str, **changes: str) -> tuple[Done, list[tuple[str, str | None]]]:
        done = command("psql", DATABASE_URL=url, **changes)
        return done, started

    return run


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("postgres://u:hunter%202@h1,h2:5432/db\n", {"user": "u", "host": "h1,h2", "port": ",5432", "dbname": "db"}),
        ("postgres://u:hunter%202@%2Fvar%2Frun/db", {"user": "u", "host": "/var/run", "dbname": "db"}),
        (
            "postgres://u:hunter%202@h/db?options=-c%20work_mem%3D5MB",
            {"user": "u", "host": "h", "dbname": "db", "options": "-c work_mem=5MB"},
        ),
    ],
)
def test_psql_is_given_all_of_the_url_but_the_password(url, parts, psql) -> None:
    _, [(words, password)] = psql(url)
    assert parse_dsn(words) == parts
    assert password == "hunter 2"


def test_a_url_without_a_password_leaves_the_environments_to_psql(psql) -> None:
    _, [(_, password)] = psql("postgres://u@h/db", PGPASSWORD="hunter3")
    assert password == "hunter3"


@pytest.mark.parametrize(
    "url", ["postgres://u:hunter2%zz@h/db", "postgres://u:p@hunter2@h/db", "mysql://u:hunter2@h/d"]
)
def test_psql_on_a_bad_url_is_refused_in_a_sentence(url, psql) -> None:
    done, started = psql(url)
    assert started == []
    assert done.returncode == 1
    assert done.stderr.startswith("DATABASE_URL: its value is not usable: ")
    assert "hunter2" not in done.stderr
