"""A worker's identity: alive while its session lives, and a new one after that."""

import os
import socket
import threading
import time
from threading import Thread

import dramatiq
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from actors.runtime.messages import identity as identity_module
from actors.runtime.messages.delivery import Delivery, Outcome
from actors.runtime.messages.identity import Identity
from service.local.processes import wait_until
from sql.engine import make_engine
from sql.url import database_name


@pytest.fixture
def identity(engine, settings):
    identity = Identity(engine, settings)
    identity.queues = ["maintenance"]
    yield identity
    identity.drop()


def alive(sql) -> list[int]:
    return [row["id"] for row in sql("SELECT live_workers() AS id")]


def test_a_process_is_registered_with_what_it_listens_to_and_alive(identity, sql) -> None:
    identity.session()
    identity.session()
    wait_until(lambda: alive(sql) == [identity.worker_id()], 30, "the server to notice")
    (row,) = sql("SELECT queues, stopped_at FROM workers")
    assert row == {"queues": ["maintenance"], "stopped_at": None}


def test_only_a_queue_that_is_new_is_written_down(identity, sql) -> None:
    """The fetcher asks for it in each round."""
    identity.session()
    row = "SELECT queues, xmin::text FROM workers"
    before = sql(row)
    identity.listen(["maintenance"])
    assert sql(row) == before
    identity.listen(["maintenance", "low"])
    assert sql(row)[0]["queues"] == ["maintenance", "low"]


def test_a_lost_session_makes_a_new_identity_and_the_old_one_is_dead(identity, sql) -> None:
    identity.session()
    first = identity.worker_id()
    sql("SELECT end_sessions(ARRAY[:id])", id=first)
    with pytest.raises(DBAPIError):
        identity.session().execute(text("SELECT 1"))
    wait_until(lambda: alive(sql) == [], 30, "the server to notice")
    identity.session()
    assert identity.worker_id() != first
    wait_until(lambda: alive(sql) == [identity.worker_id()], 30, "the server to notice")


def test_a_connection_that_broke_in_the_sweep_is_not_mended_behind_our_back(identity, sql) -> None:
    """SQLAlchemy would reconnect by itself, without the lock."""
    session = identity.session()
    first = identity.worker_id()
    session.invalidate()
    identity.session()
    assert identity.worker_id() != first
    wait_until(lambda: alive(sql) == [identity.worker_id()], 30, "the server to notice")


def test_a_process_that_leaves_is_dead_at_once_and_says_when_it_stopped(identity, sql) -> None:
    identity.session()
    others = identity._engine.pool.checkedout() - 1
    identity.deregister()
    assert identity._engine.pool.checkedout() == others
    assert not identity._registered.is_set()  # who asks for it now waits, instead of asking again and again
    wait_until(lambda: alive(sql) == [], 30, "the server to notice")
    assert sql("SELECT stopped_at IS NOT NULL AS stopped FROM workers") == [{"stopped": True}]


WRITE = "INSERT INTO businesses (name) VALUES ('x')"


def test_a_server_that_becomes_read_only_does_not_cost_a_worker_its_identity(identity, sql) -> None:
    session = identity.session()
    first = identity.worker_id()
    with pytest.raises(DBAPIError, match="read-only"), session.begin():
        session.exec_driver_sql(f"SET TRANSACTION READ ONLY; {WRITE}")
    with session.begin():
        session.exec_driver_sql(WRITE)
    assert identity.session() is session
    assert identity.worker_id() == first
    assert alive(sql) == [first]


def test_once_the_database_takes_writes_nobody_registers_on_a_read_only_session(settings, sql) -> None:
    name = database_name(settings.DATABASE_URL)
    engine = make_engine(settings.DATABASE_URL, application_name="test", pool_size=1, max_overflow=0)
    identity = Identity(engine, settings)
    sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(DBAPIError, match="read-only"):
        identity.session()
    sql(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
    identity.session()
    assert alive(sql) == [identity.worker_id()]
    identity.drop()
    engine.dispose()


def test_who_cannot_register_leaves_no_connection_behind(identity, engine, sql) -> None:
    sql("""CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
           CREATE TRIGGER refuse BEFORE INSERT ON workers FOR EACH ROW EXECUTE FUNCTION refuse()""")
    with pytest.raises(DBAPIError, match="no") as refusal:
        identity.session()
    assert engine.pool.checkedout() == 0, refusal  # though its traceback still knows of the connection
    assert identity.current == 0


def test_after_a_silence_nothing_makes_a_process_fresh_again_but_a_new_identity(identity) -> None:
    """SIGSTOP or a suspended laptop: by now others may have done what it holds."""
    identity.session()
    assert identity.is_fresh()
    identity._seen_at -= 60
    identity.seen()
    identity.session().execute(text("SELECT 1"))
    assert not identity.is_fresh()
    identity.drop()
    identity.session()
    assert identity.is_fresh()


def test_time_in_which_the_machine_was_suspended_counts_as_silence(identity, monkeypatch) -> None:
    identity.session()
    real = time.clock_gettime
    suspended = {time.CLOCK_BOOTTIME: 3600}
    monkeypatch.setattr(time, "clock_gettime", lambda clock: real(clock) + suspended.get(clock, 0))
    assert not identity.is_fresh()


def test_an_identity_that_is_lost_while_somebody_asks_for_it_is_never_0(identity) -> None:
    identity.session()
    identity.current = 0  # as between the two lines of lose()
    threading.Timer(0.2, lambda: setattr(identity, "current", 7)).start()
    assert identity.worker_id() == 7


def test_what_was_claimed_by_a_process_that_stood_still_is_not_begun(process, sql) -> None:
    one = process()
    one.identity.session()
    message = dramatiq.Message("low", "note", (), {}, {})
    delivery = Delivery(message, 1, 1, one.identity.current, was_lost=False)
    assert one._decide(delivery) is Outcome.RUN
    one.identity._seen_at -= 60
    assert one._decide(delivery) is Outcome.REQUEUE
    one.identity.drop()
    one.identity.session()
    assert one._decide(delivery) is Outcome.DROP
    one.stopping.set()
    assert one._decide(Delivery(message, 1, 1, one.identity.current, was_lost=False)) is Outcome.REQUEUE


def test_a_process_waits_for_an_identity_only_so_long_and_gets_the_next_one_at_once(identity, monkeypatch) -> None:
    found: list[object] = []

    def ask(seconds: float) -> Thread:
        def worker_id() -> None:
            try:
                found.append(identity.worker_id())
            except TimeoutError as error:
                found.append(error)

        monkeypatch.setattr("actors.runtime.messages.identity.WAIT_SECONDS", seconds)
        thread = Thread(target=worker_id, daemon=True)
        thread.start()
        return thread

    identity.session()
    identity.drop()
    ask(0.2).join(30)
    assert [type(one) for one in found] == [TimeoutError]
    asking = ask(60)
    identity.session()
    asking.join(30)
    assert found[1:] == [identity.current]


def test_the_row_of_a_worker_says_where_it_runs_and_what_it_knows(engine, settings, sql) -> None:
    identity = Identity(engine, settings.model_copy(update={"RELEASE": "v7"}), ["delete_receipts", "sync_receipts"])
    identity.queues = ["low", "maintenance"]
    session = identity.session()
    (row,) = sql("SELECT hostname, pid, release, kinds, queues FROM workers")
    assert row == {
        "hostname": socket.gethostname(), "pid": os.getpid(), "release": "v7", "queues": ["low", "maintenance"],
        "kinds": ["delete_receipts", "sync_receipts"],
    }  # fmt: skip
    assert session.exec_driver_sql("SHOW statement_timeout").scalar() == "10s"
    heard = session.exec_driver_sql("SELECT pg_listening_channels()").scalars().all()
    assert set(heard) == {"dramatiq.low.enqueue", "dramatiq.maintenance.enqueue"}
    session.rollback()
    identity.drop()


def test_what_a_worker_writes_of_itself_changes_no_other(identity, sql) -> None:
    sql("INSERT INTO workers (hostname, pid, queues, release) VALUES ('other', 7, '{high}', '')")
    identity.session()
    identity.listen(["low"])
    identity.deregister()
    rows = sql("SELECT hostname, queues, stopped_at IS NULL AS runs FROM workers ORDER BY id")
    assert rows[0] == {"hostname": "other", "queues": ["high"], "runs": True}
    assert (rows[1]["queues"], rows[1]["runs"]) == (["maintenance", "low"], False)
    assert identity.current == 0


def test_a_silence_of_12_s_is_too_long_and_one_of_11_is_not(identity) -> None:
    identity.session()
    for seconds, fresh in ((11, True), (12.5, False)):
        identity._seen_at = identity_module._now() - seconds
        assert identity.is_fresh() is fresh
