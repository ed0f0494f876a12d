"""`psql`: what of the URL it is given, and where."""

import os
from typing import Any

import pytest
from psycopg2.extensions import parse_dsn


@pytest.fixture
def psql(command, monkeypatch):
    """What psql would have been started with: its command line, and PGPASSWORD."""
    started: list[tuple[str, str | None]] = []
    monkeypatch.setattr("os.execv", lambda _path, words: started.append((words[1], os.environ.get("PGPASSWORD"))))

    def run(url: str, **changes: str) -> tuple[Any, list[tuple[str, str | None]]]:
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


def test_psql_asks_for_the_passphrase_of_a_key_which_a_list_of_processes_would_show(psql) -> None:
    done, [(words, _)] = psql("postgres://u@h/db?sslkey=%2Fk&sslpassword=hunter2")
    assert parse_dsn(words) == {"user": "u", "host": "h", "dbname": "db", "sslkey": "/k"}
    assert done.stderr == "psql asks for the passphrase of the client's key\n"


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
