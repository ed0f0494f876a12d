"""A worker's identity: alive while its session lives, and a new one after that."""

from threading import Thread

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from actors.runtime.presence import Presence
from service.processes import wait_until
from sql.engine import make_engine
from sql.url import database_name


@pytest.fixture
def presence(engine, settings):
    presence = Presence(engine, settings)
    presence.queues = ["maintenance"]
    yield presence
    presence.lose()


def alive(sql) -> list[int]:
    return [row["id"] for row in sql("SELECT live_workers() AS id")]


def test_a_process_is_registered_with_what_it_listens_to_and_alive(presence, sql) -> None:
    presence.session()
    presence.session()
    wait_until(lambda: alive(sql) == [presence.worker_id()], 5, "the server to notice")
    (row,) = sql("SELECT queues, stopped_at FROM workers")
    assert row == {"queues": ["maintenance"], "stopped_at": None}


def test_a_lost_session_makes_a_new_identity_and_the_old_one_is_dead(presence, sql) -> None:
    presence.session()
    first = presence.worker_id()
    sql("SELECT end_sessions(ARRAY[:id])", id=first)
    with pytest.raises(DBAPIError):
        presence.session().execute(text("SELECT 1"))
    wait_until(lambda: alive(sql) == [], 5, "the server to notice")
    presence.session()
    assert presence.worker_id() != first
    wait_until(lambda: alive(sql) == [presence.worker_id()], 5, "the server to notice")


def test_a_connection_that_broke_in_the_sweep_is_not_mended_behind_our_back(presence, sql) -> None:
    """SQLAlchemy would reconnect by itself, without the lock."""
    session = presence.session()
    first = presence.worker_id()
    session.invalidate()
    presence.session()
    assert presence.worker_id() != first
    wait_until(lambda: alive(sql) == [presence.worker_id()], 5, "the server to notice")


def test_a_process_that_leaves_is_dead_at_once_and_says_when_it_stopped(presence, sql) -> None:
    presence.session()
    presence.leave()
    wait_until(lambda: alive(sql) == [], 5, "the server to notice")
    assert sql("SELECT stopped_at IS NOT NULL AS stopped FROM workers") == [{"stopped": True}]


def test_a_process_without_an_identity_is_told_so_after_a_while_and_gets_the_next_one_at_once(
    presence, monkeypatch
) -> None:
    found: list[object] = []

    def ask(seconds: float) -> Thread:
        def worker_id() -> None:
            try:
                found.append(presence.worker_id())
            except TimeoutError as error:
                found.append(error)

        monkeypatch.setattr("actors.runtime.presence.WAIT_SECONDS", seconds)
        thread = Thread(target=worker_id, daemon=True)
        thread.start()
        return thread

    presence.session()
    presence.lose()
    ask(0.2).join(5)
    assert [type(one) for one in found] == [TimeoutError]
    asking = ask(20)
    presence.session()
    asking.join(5)
    assert found[1:] == [presence.current]


WRITE = "INSERT INTO businesses (name) VALUES ('x')"


def test_a_server_that_becomes_read_only_under_a_worker_does_not_cost_it_its_identity(presence, sql) -> None:
    session = presence.session()
    first = presence.worker_id()
    with pytest.raises(DBAPIError, match="read-only"), session.begin():
        session.exec_driver_sql(f"SET TRANSACTION READ ONLY; {WRITE}")
    with session.begin():
        session.exec_driver_sql(WRITE)
    assert presence.session() is session
    assert presence.worker_id() == first
    assert alive(sql) == [first]


def test_nobody_registers_on_a_session_that_began_read_only_once_the_database_takes_writes(settings, sql) -> None:
    name = database_name(settings.DATABASE_URL)
    engine = make_engine(settings.DATABASE_URL, application_name="test", pool_size=1, max_overflow=0)
    presence = Presence(engine, settings)
    sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(DBAPIError, match="read-only"):
        presence.session()
    sql(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
    presence.session()
    assert alive(sql) == [presence.worker_id()]
    presence.lose()
    engine.dispose()
