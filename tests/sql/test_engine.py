"""URLs in their forms, and the limits that every session has."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from sql.engine import libpq_url, make_engine, sqlalchemy_url, take_time


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_both_schemes_that_platforms_hand_out_are_understood(scheme: str) -> None:
    url = f"{scheme}://u:p%40ss@host:5433/db?sslmode=require"
    assert sqlalchemy_url(url).render_as_string(hide_password=False) == (
        "postgresql+psycopg2://u:p%40ss@host:5433/db?sslmode=require"
    )
    assert libpq_url(url) == "postgresql://u:p%40ss@host:5433/db?sslmode=require"


@pytest.mark.parametrize(
    "url", ["", "mysql://u:secret@h/d", "host=db password=secret", "postgresql://u:secret@h", "postgres://h:secret/d",
            "postgres://u:pa/ss@secret@h:1/db", "postgres://u:p?x@secret@h/db", "postgres://u:p/w@secret:1/x@h/db",
            "postgres://u:p@secret@h/db"]
)  # fmt: skip
def test_another_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="expected") as refusal:
        sqlalchemy_url(url)
    assert "secret" not in str(refusal.value)


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
            take_time(connection)
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
