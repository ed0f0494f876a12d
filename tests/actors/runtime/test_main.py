"""The worker's command: what it checks before it becomes Dramatiq's, and what it tells that."""

import secrets
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from actors.runtime import __main__ as command
from actors.runtime.base.config import load_settings
from actors.runtime.base.errors import ConfigError
from service.local.processes import wait_until
from service.local.sandbox import database
from sql.version import expected_version


@pytest.fixture
def run(environment, monkeypatch):
    """run(NAME="value"): the command in that environment; returns its exit code, and what it has called in order."""

    def run(**changes: str) -> tuple[Any, list[Any]]:
        called: list[Any] = []

        def become(arguments: Any) -> int:
            called.append(arguments)
            return 3

        given = {**environment, **changes}
        monkeypatch.setattr(command, "load_settings", lambda: load_settings(given))
        for name in ("open_standard_streams", "set_up_logging", "print_without_waiting"):
            monkeypatch.setattr(command, name, lambda *words, name=name: called.append((name, *words)))
        monkeypatch.setattr(command.cli, "main", become)
        monkeypatch.setattr(sys, "argv", ["dramatiq"])
        try:
            return command.main(), called
        except SystemExit as end:
            return end.code, called

    return run


def test_dramatiqs_command_line_gets_what_the_settings_say_and_its_code_is_ours(run) -> None:
    code, called = run(WORKER_PROCESSES="3", WORKER_THREADS="5", WORKER_QUEUES="high,maintenance", LOG_FORMAT="json")
    assert code == 3
    *before, arguments = called
    assert before == [("open_standard_streams",), ("set_up_logging", "json"), ("print_without_waiting",)]
    assert arguments.broker == "actors.runtime.worker.process:set_up"
    assert (arguments.processes, arguments.threads, arguments.queues) == (3, 5, ["high", "maintenance"])
    assert arguments.worker_shutdown_timeout == 20_000  # of the platform's 30 s
    assert arguments.skip_logging
    assert sys.argv == [sys.executable, "-m", "actors.runtime"]  # what a SIGHUP starts again


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"BATCH_SIZE": "many"}, "BATCH_SIZE: 'many' is not usable"),
        ({"DELETE_RECEIPTS_BATCH_SIZE": "many"}, "DELETE_RECEIPTS_BATCH_SIZE"),
        ({"WORKER_QUEUES": "high,low"}, "WORKER_QUEUES: found high, low, which no kind of job uses; expected at least"),
        ({"DATABASE_URL": "postgresql://127.0.0.1:1/d"}, "DATABASE_URL: Postgres cannot be used: "),
    ],
)
def test_what_is_configured_wrongly_is_said_and_nothing_begins(changes, says, run) -> None:
    code, called = run(**changes)
    assert code.startswith(says)
    assert [one for one in called if one[0] not in ("open_standard_streams", "set_up_logging")] == []


def test_queues_of_which_one_is_used_will_do_and_else_those_that_are_used_are_named(settings) -> None:
    kinds: Any = [SimpleNamespace(queue="maintenance"), SimpleNamespace(queue="high")]
    listening = settings.model_copy(update={"WORKER_QUEUES": ("low", "high")})
    command.check_queues(listening, kinds)
    with pytest.raises(ConfigError, match=r"found low, high, .* expected at least one of maintenance$"):
        command.check_queues(listening, kinds[:1])


def test_a_database_as_released_is_fine_and_an_older_or_shared_one_is_not(settings, sql, monkeypatch) -> None:
    command.check_postgres(settings)
    monkeypatch.setattr(command, "sessions_are_shared", lambda _engine: True)
    with pytest.raises(ConfigError, match=r"^DATABASE_URL: found a transaction-pooling proxy, expected a direct"):
        command.check_postgres(settings)
    sql("UPDATE longhaul_version SET version_num = '0001'")
    with pytest.raises(ConfigError, match=f"at version 0001, expected {expected_version()}: release$"):
        command.check_postgres(settings)
    left = """SELECT FROM pg_stat_activity
              WHERE application_name LIKE 'longhaul check%' AND datname = current_database()"""
    wait_until(lambda: not sql(left), 30, "its sessions to end")


def test_a_database_that_is_none_of_ours_is_named(settings, servers, other_encoding) -> None:
    def check(url: str) -> None:
        command.check_postgres(settings.model_copy(update={"DATABASE_URL": url}))

    with pytest.raises(ConfigError, match=r"^DATABASE_URL: found a database whose encoding is LATIN1, expected UTF8"):
        check(other_encoding("LATIN1"))
    with (
        database(servers["DATABASE_URL"], f"longhaul_test_{secrets.token_hex(4)}") as empty,
        pytest.raises(ConfigError, match=f"^DATABASE_URL: .* our tables, expected version {expected_version()}: "),
    ):
        check(empty)


@pytest.mark.parametrize(
    ("changes", "event", "says"),
    [
        ({}, None, ""),
        ({"S3_BUCKET": "no-such-bucket"}, "bucket.refused", "does not exist; see S3_BUCKET; starting anyway"),
        ({"S3_ENDPOINT_URL": "http://127.0.0.1:1"}, "bucket.unreachable", "S3_ENDPOINT_URL; starting anyway"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_a_warning_and_the_worker_starts(changes, event, says, settings) -> None:
    with capture_logs() as lines:
        command.check_bucket(settings.model_copy(update=changes))
    assert [(line["event"], line["log_level"]) for line in lines] == ([(event, "warning")] if event else [])
    assert all(says in line["error"] for line in lines)
