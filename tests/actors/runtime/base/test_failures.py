"""What a failed statement means, tried on the errors that Postgres really sends."""

from contextlib import closing, suppress

import psycopg2
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from actors.runtime.base.failures import (
    backoff_seconds,
    describe,
    describe_for_users,
    is_data,
    is_lock_timeout,
    is_lost,
    is_timeout,
    is_transient,
)
from sql.engine import make_engine

TRANSIENT = [
    "SET LOCAL statement_timeout = 1; SELECT pg_sleep(1)",
    "SELECT pg_terminate_backend(pg_backend_pid())",
    "DO $$ BEGIN RAISE deadlock_detected; END $$",
    "DO $$ BEGIN RAISE serialization_failure; END $$",
    "DO $$ BEGIN RAISE lock_not_available; END $$",
    "DO $$ BEGIN RAISE too_many_connections; END $$",
    "DO $$ BEGIN RAISE admin_shutdown; END $$",
    "DO $$ BEGIN RAISE read_only_sql_transaction; END $$",
    "DO $$ BEGIN RAISE insufficient_privilege; END $$",
    "DO $$ BEGIN RAISE disk_full; END $$",
    "DO $$ BEGIN RAISE out_of_memory; END $$",
]
DATA = [
    "DO $$ BEGIN RAISE 'a trigger says no'; END $$",
    "DO $$ BEGIN RAISE 'own code' USING ERRCODE = 'MY001'; END $$",
    "DO $$ BEGIN RAISE check_violation; END $$",
    "DO $$ BEGIN RAISE foreign_key_violation; END $$",
    "SELECT 1 / 0",
    "SELECT 'x'::int",
    "SELECT 3000000000::int",
]
BUGS = [
    "SELEC 1",
    "SELECT no_such_column",
    "SELECT * FROM no_such_table",
    "DO $$ BEGIN RAISE feature_not_supported; END $$",
]


@pytest.mark.parametrize(
    ("statement", "meaning"),
    [(s, "transient") for s in TRANSIENT] + [(s, "data") for s in DATA] + [(s, "bug") for s in BUGS],
)
def test_each_error_of_postgres_means_one_thing(statement: str, meaning: str, engine) -> None:
    with pytest.raises(DBAPIError) as error, engine.begin() as connection:
        connection.execute(text(statement))
    found = [name for name, holds in (("transient", is_transient), ("data", is_data)) if holds(error.value)]
    assert (found or ["bug"]) == [meaning]


@pytest.mark.parametrize("condition", ["internal_error", "data_corrupted", "invalid_sql_statement_name"])
def test_that_a_session_was_thrown_away_for_an_error_does_not_make_it_transient(condition, engine) -> None:
    with pytest.raises(DBAPIError) as error, engine.begin() as connection:
        connection.exec_driver_sql(f"DO $$ BEGIN RAISE {condition}; END $$")
    assert error.value.connection_invalidated
    assert not is_transient(error.value)
    assert not is_data(error.value)


def test_to_go_on_with_a_session_that_was_thrown_away_is_transient(engine) -> None:
    with engine.connect() as connection:
        connection.begin()
        with suppress(DBAPIError), connection.begin_nested():
            connection.exec_driver_sql("DO $$ BEGIN RAISE read_only_sql_transaction; END $$")
        with pytest.raises(PendingRollbackError) as error:
            connection.execute(text("SELECT 1"))
    assert is_transient(error.value)


@pytest.mark.parametrize("statement", TRANSIENT)
def test_a_lost_connection_is_told_from_a_refusal(statement: str, engine) -> None:
    with pytest.raises(DBAPIError) as error, engine.begin() as connection:
        connection.execute(text(statement))
    assert is_lost(error.value) is ("terminate" in statement or "admin_shutdown" in statement)


def test_a_server_that_is_away_is_transient_and_lost() -> None:
    with pytest.raises(DBAPIError) as error:
        make_engine("postgresql://127.0.0.1:1/db", application_name="test").connect()
    assert is_transient(error.value)
    assert is_lost(error.value)


def test_a_value_that_the_driver_cannot_send_is_a_bug(engine) -> None:
    with pytest.raises(DBAPIError) as error, engine.begin() as connection:
        connection.execute(text("SELECT :x"), {"x": object()})
    assert not is_transient(error.value)
    assert not is_data(error.value)


def test_the_reason_for_the_users_names_no_host(engine) -> None:
    with pytest.raises(DBAPIError) as error:
        make_engine("postgresql://127.0.0.1:1/db", application_name="test").connect()
    assert describe_for_users(error.value) == "the connection to Postgres was lost"
    assert "127.0.0.1" in describe(error.value)
    assert describe_for_users(TimeoutError("no answer")) == "TimeoutError: no answer"
    for statement, values in ((TRANSIENT[0], {}), ("SELECT :x", {"x": object()})):
        with pytest.raises(DBAPIError) as error, engine.begin() as connection:
            connection.execute(text(statement), values)
        assert describe_for_users(error.value) == describe(error.value)


def test_an_error_of_python_is_neither() -> None:
    assert not is_transient(LookupError())
    assert not is_data(LookupError())


def test_the_sentence_holds_neither_the_statement_nor_its_values(engine) -> None:
    with pytest.raises(DBAPIError) as error, engine.begin() as connection:
        connection.execute(text("SELECT 1 / (length(:secret) - 7)"), {"secret": "hunter2"})
    assert describe(error.value) == "division by zero"
    assert describe(LookupError("no such thing\nsecond line")) == "LookupError: no such thing"
    assert len(describe(LookupError("x" * 9999))) == 500
    with pytest.raises(DBAPIError) as error, engine.begin() as connection:
        connection.execute(text("DO $$ BEGIN RAISE '%', repeat('x', 9999); END $$"))
    assert describe(error.value) == "x" * 500
    assert describe(psycopg2.OperationalError()) == "OperationalError: "


@pytest.mark.parametrize(
    ("state", "transient", "data"),
    [
        ("08006", True, False),
        ("25P03", True, False),
        ("25P04", True, False),
        ("55P03", True, False),
        ("57014", True, False),
        ("58030", True, False),
        ("21000", False, True),
        ("22P02", False, True),
        ("27000", False, True),
        ("2F005", False, True),
        ("38001", False, True),
        ("39004", False, True),
        ("44000", False, True),
        ("P0001", False, True),
        ("0A000", False, False),
        ("25P02", False, False),
        ("34000", False, False),
        ("3D000", False, False),
        ("42P01", False, False),
        ("54001", False, False),
        ("55006", False, False),
        ("F0000", False, False),
        ("HV000", False, False),
    ],
)
def test_each_class_of_errors_means_one_thing_whoever_raises_it(state, transient, data, engine) -> None:
    with pytest.raises(DBAPIError) as error, engine.begin() as connection:
        connection.exec_driver_sql(f"DO $$ BEGIN RAISE 'made up' USING ERRCODE = '{state}'; END $$")
    assert (is_transient(error.value), is_data(error.value)) == (transient, data)
    assert is_timeout(error.value) is (state == "57014")
    assert is_lock_timeout(error.value) is (state in ("55P03", "57014"))


def test_the_waits_grow_to_half_a_minute() -> None:
    assert [backoff_seconds(failures) for failures in (1, 2, 3, 4, 5, 6, 900)] == [2, 4, 8, 16, 30, 30, 30]


@pytest.mark.parametrize(
    ("statement", "means"),
    [
        ("SELECT 1 / 0", ["data"]),
        ("SELEC 1", []),
        ("DO $$ BEGIN RAISE lock_not_available; END $$", ["transient"]),
        ("SELECT pg_terminate_backend(pg_backend_pid())", ["transient", "lost"]),
    ],
)
def test_an_error_of_the_driver_itself_means_what_it_means_to_sqlalchemy(statement, means, settings) -> None:
    with closing(psycopg2.connect(settings.DATABASE_URL)) as session, pytest.raises(psycopg2.Error) as error:
        session.cursor().execute(statement)
    asked = {"transient": is_transient, "data": is_data, "lost": is_lost}
    assert [name for name, holds in asked.items() if holds(error.value)] == means
