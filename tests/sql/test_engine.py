"""What every session relies on, its limits, and that no session outlives what was wrong with it."""

import psycopg2
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

from sql.engine import SESSION_SETTINGS, autocommitting, execute, fetch, keep_session, lift_time_limits, make_engine
from sql.url import database_name


def test_every_session_has_its_limits_and_its_name(engine) -> None:
    with engine.connect() as connection:
        shown = {
            name: connection.execute(text(f"SHOW {name}")).scalar()
            for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "timezone",
                         "client_connection_check_interval", "transaction_timeout", "application_name")
        }  # fmt: skip
    assert shown == {
        "statement_timeout": "30s",
        "lock_timeout": "10s",
        "idle_in_transaction_session_timeout": "15s",
        "client_connection_check_interval": "1s",
        "transaction_timeout": "1min",
        "timezone": "UTC",
        "application_name": "test",
    }


def test_what_must_take_its_time_may_and_only_in_its_own_transaction(engine) -> None:
    def limits(connection) -> list[str]:
        names = ("statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout")
        return [connection.execute(text(f"SHOW {name}")).scalar() for name in names]

    with engine.connect() as connection:
        with connection.begin():
            lift_time_limits(connection)
            assert limits(connection) == ["0", "0", "0"]
        assert limits(connection) == ["30s", "15s", "1min"]


def test_a_server_that_is_not_there_is_an_error_at_once() -> None:
    engine = make_engine("postgresql://u:secret@127.0.0.1:1/db", application_name="test")
    with pytest.raises(OperationalError) as refusal, engine.connect():
        pass
    assert "secret" not in str(refusal.value)


def test_a_connection_that_somebody_left_in_autocommit_is_handed_out_in_transactions(settings, sql) -> None:
    """An interrupted thread may leave it so; a batch on it would be committed without its checkpoint."""
    sql("CREATE TABLE notes (n int)")
    engine = make_engine(settings.DATABASE_URL, application_name="test", pool_size=1, max_overflow=0)
    with engine.connect() as connection:
        connection.connection.driver_connection.autocommit = True
    with engine.connect() as connection:
        connection.execute(text("INSERT INTO notes VALUES (1)"))
        connection.rollback()
    engine.dispose()
    assert sql("SELECT FROM notes") == []


def pid(connection) -> int:
    return connection.execute(text("SELECT pg_backend_pid()")).scalar_one()


WRITE = text("INSERT INTO businesses (name) VALUES ('x')")


@pytest.fixture
def read_only(sql, settings):
    """read_only("on"): what new sessions are, whoever opens them."""
    name = database_name(settings.DATABASE_URL)

    def change(value: str) -> None:
        sql(f"ALTER DATABASE {name} SET default_transaction_read_only = {value}")

    return change


def test_sessions_that_began_read_only_are_replaced_once_the_database_takes_writes(settings, sql, read_only) -> None:
    engine = make_engine(settings.DATABASE_URL, application_name="test", pool_size=3, max_overflow=0)
    read_only("on")
    several = [engine.connect() for _ in range(3)]
    for connection in several:
        pid(connection)
        connection.close()
    read_only("off")
    with pytest.raises(DBAPIError, match="read-only"), engine.begin() as connection:
        connection.execute(WRITE)
    for _ in range(3):  # none of the others fails first
        with engine.begin() as connection:
            connection.execute(WRITE)
    engine.dispose()
    assert len(sql("SELECT FROM businesses")) == 3


@pytest.mark.parametrize(
    "condition", ["read_only_sql_transaction", "internal_error", "invalid_sql_statement_name", "feature_not_supported"]
)
def test_an_error_that_speaks_of_the_session_costs_it_and_its_transaction(condition, settings, sql) -> None:
    engine = make_engine(settings.DATABASE_URL, application_name="test", pool_size=1, max_overflow=0)
    with engine.connect() as connection:
        before = pid(connection)
        connection.execute(WRITE)
        with pytest.raises(DBAPIError) as failure, connection.begin_nested():
            connection.exec_driver_sql(f"DO $$ BEGIN RAISE {condition}; END $$")
        assert failure.value.connection_invalidated
        with pytest.raises(Exception, match="rolled back"):  # whoever goes on writes half of it nowhere
            connection.execute(WRITE)
        connection.rollback()
        assert pid(connection) != before
    engine.dispose()
    assert sql("SELECT FROM businesses") == []


@pytest.mark.parametrize("statement", ["SELECT 1 / 0", "DO $$ BEGIN RAISE deadlock_detected; END $$"])
def test_any_other_error_costs_no_session(statement, settings) -> None:
    engine = make_engine(settings.DATABASE_URL, application_name="test", pool_size=1, max_overflow=0)
    with engine.connect() as connection:
        before = pid(connection)
        with pytest.raises(DBAPIError), connection.begin_nested():
            connection.exec_driver_sql(statement)
        assert pid(connection) == before
    engine.dispose()


RAISE = "DO $$ BEGIN RAISE read_only_sql_transaction; END $$"


def test_so_does_one_that_a_raw_cursor_meets(engine) -> None:
    with engine.connect() as connection:
        before = pid(connection)
        connection.rollback()
        with pytest.raises(psycopg2.Error), autocommitting(connection) as cursor:
            cursor.execute(RAISE)
        assert connection.invalidated
        assert pid(connection) != before


@pytest.mark.parametrize("run", [fetch, execute])
@pytest.mark.parametrize("statement", [RAISE, "SELECT pg_terminate_backend(pg_backend_pid())"])
def test_so_does_one_of_a_statement_that_is_run_past_sqlalchemy(statement, run, engine) -> None:
    with engine.connect() as connection:
        before = pid(connection)
        with pytest.raises(psycopg2.Error):
            run(connection, statement, {})
        assert connection.invalidated
        connection.rollback()
        assert pid(connection) != before


def test_rows_are_fetched_in_the_transaction_that_is_open(engine, sql) -> None:
    sql("CREATE TABLE notes (n int)")
    with engine.connect() as connection:
        with connection.begin():
            connection.execute(text("INSERT INTO notes VALUES (1), (2)"))
            found = fetch(connection, "SELECT n, n * %(by)s AS more FROM notes ORDER BY n", {"by": 3})
            assert found == [{"n": 1, "more": 3}, {"n": 2, "more": 6}]
            assert execute(connection, "UPDATE notes SET n = n + 1 WHERE n > %(over)s", {"over": 1}) == 1
            with pytest.raises(psycopg2.errors.UndefinedTable):
                fetch(connection, "SELECT FROM no_such_table", {})
            assert not connection.invalidated
        connection.rollback()
    assert sql("SELECT FROM notes") == []


def test_a_session_that_holds_an_identity_is_kept_through_all_but_its_end(engine) -> None:
    with engine.connect() as connection:
        before = pid(connection)
        keep_session(connection)
        with pytest.raises(DBAPIError):
            connection.exec_driver_sql(RAISE)
        connection.rollback()
        with pytest.raises(psycopg2.Error), autocommitting(connection) as cursor:
            cursor.execute(RAISE)
        assert pid(connection) == before
        with pytest.raises(DBAPIError):
            connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
        assert connection.invalidated


OTHERWISE = {
    "client_encoding": "LATIN1", "array_nulls": "off", "datestyle": "German", "intervalstyle": "iso_8601",
    "bytea_output": "escape", "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on", "transform_null_equals": "on", "extra_float_digits": "-15",
    "exit_on_error": "on", "timezone": "Asia/Tokyo", "search_path": "pg_catalog", "statement_timeout": "1min",
    "standard_conforming_strings": "off", "lock_timeout": "1", "transaction_timeout": "2min",
}  # fmt: skip


@pytest.mark.parametrize("owner", ["DATABASE", "ROLE"])
def test_what_a_database_or_a_role_has_as_its_defaults_changes_no_session_of_ours(owner, settings, sql, engine) -> None:
    def shown() -> dict[str, str]:
        fresh = make_engine(settings.DATABASE_URL, application_name="test")
        with fresh.connect() as connection:
            names = {**SESSION_SETTINGS, **OTHERWISE}
            found = {name: connection.execute(text(f"SHOW {name}")).scalar_one() for name in names}
            # and the driver agrees
            row = connection.execute(
                text("SELECT CAST(:s AS text), CAST(:a AS text[]), CAST(:b AS bytea), now(), interval '90 minutes'"),
                {"s": "č\\ ₪", "a": ["č\\", None, "NULL"], "b": b"\\\x00\xff"},
            ).one()
            assert (row[0], row[1], bytes(row[2])) == ("č\\ ₪", ["č\\", None, "NULL"], b"\\\x00\xff")
            assert row[4].total_seconds() == 5400
        fresh.dispose()
        return found

    expected = shown()
    whose = f"DATABASE {database_name(settings.DATABASE_URL)}"
    if owner == "ROLE":
        whose = f"ROLE CURRENT_USER IN {whose}"
    for name, value in OTHERWISE.items():
        sql(f"ALTER {whose} SET {name} = '{value}'")
    assert shown() == expected
    assert expected["client_encoding"] == "UTF8"


def test_a_client_that_was_told_another_encoding_speaks_utf8_all_the_same(settings, monkeypatch) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    monkeypatch.setenv("PGOPTIONS", "-c client_encoding=LATIN1")
    for url in (settings.DATABASE_URL, f"{settings.DATABASE_URL}&client_encoding=LATIN1"):
        engine = make_engine(url, application_name="test")
        with engine.connect() as connection:
            assert connection.execute(text("SELECT CAST(:s AS text)"), {"s": "₪"}).scalar_one() == "₪"
        engine.dispose()


def test_whoever_makes_a_database_read_only_is_obeyed(settings, read_only) -> None:
    read_only("on")
    engine = make_engine(settings.DATABASE_URL, application_name="test")
    with pytest.raises(DBAPIError, match="read-only"), engine.begin() as connection:
        connection.execute(WRITE)
    engine.dispose()


def test_what_the_url_says_about_the_client_goes_first_but_the_name_is_ours(settings) -> None:
    url = f"{settings.DATABASE_URL}&connect_timeout=7&application_name=theirs&options=-c%20work_mem%3D5MB"
    engine = make_engine(url, application_name="ours")
    with engine.connect() as connection:
        assert connection.execute(text("SHOW application_name")).scalar() == "ours"
        assert connection.execute(text("SHOW work_mem")).scalar() == "5MB"
        assert connection.connection.driver_connection.get_dsn_parameters()["connect_timeout"] == "7"
    engine.dispose()
