"""A lock timeout names who held the lock; what that session ran goes to the log only."""

import re
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from threading import Thread, Timer
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from actors.runtime.base.periodic import Periodic
from actors.runtime.jobs import blockers
from actors.runtime.jobs.blockers import Blocker, Wait, Waits
from actors.runtime.jobs.run import Batch, Run
from service.local.processes import wait_until
from sql.engine import make_engine
from tests.actors.runtime.tiny import as_role, kind, numbers

LIMIT = "4s"  # long enough for a look on a busy machine
SECRET = "SELECT 'another tenant' FROM done"


@pytest.fixture
def waits(engine, monkeypatch) -> Iterator[Waits]:
    """Those of a worker, looked at often."""
    monkeypatch.setattr(blockers, "LONG_SECONDS", 0.1)
    watched = Waits()
    with engine.connect(), engine.connect(), engine.connect():  # so that a look finds one that is open
        pass
    watcher = Periodic(0.1, "watch", lambda: watched.look(engine))
    watcher.start()
    yield watched
    watcher.stop(5)


@pytest.fixture
def holder(settings, done) -> Iterator[Any]:
    """A session that holds a lock on the table `done`, and sits in its transaction."""
    engine = make_engine(settings.DATABASE_URL, application_name="payroll of another tenant")
    with engine.connect() as connection:
        connection.execute(text("LOCK TABLE done IN SHARE MODE"))
        connection.execute(text(SECRET))
        yield connection
        connection.rollback()
    engine.dispose()


def limited(how: str, statement: str = "SELECT 1") -> Any:
    @kind
    def work(run: Run) -> Iterator[Batch]:
        limit = text(f"SET LOCAL {how} = '{LIMIT}'; {statement}")
        yield from numbers(run, 10, before=lambda: run.connection.execute(limit))

    return work


@pytest.fixture
def fails_at_once(run, settings, waits):
    """fails_at_once(kind): the job after its first failure, and what was logged."""

    def go(a_kind: Any) -> tuple[dict[str, Any], list[Any]]:
        with capture_logs() as lines:
            job = run(a_kind, settings=settings.model_copy(update={"MAX_BATCH_FAILURES": 1}), waits=waits)
        return job, lines

    return go


@pytest.mark.parametrize("how", ["lock_timeout", "statement_timeout"])
def test_a_time_limit_that_ends_a_wait_for_a_lock_names_who_held_it(how, holder, fails_at_once) -> None:
    pid = holder.execute(text("SELECT pg_backend_pid()")).scalar_one()
    holder.execute(text(SECRET))
    job, lines = fails_at_once(limited(how))
    assert job["status"] == "failed"
    blocker = rf"; blocked by the session with the pid {pid}, whose transaction is \d+ s old$"
    assert re.search(blocker, job["last_error"])
    assert "tenant" not in str(job)
    (line,) = [line for line in lines if line["event"] == "batch.blocked"]
    assert (line["pid"], line["application"], line["query"]) == (pid, "payroll of another tenant", SECRET)


def test_the_wait_says_it_too_while_it_lasts(holder, run, make, waits, job_row) -> None:
    job_id = make.job()
    worker = Thread(target=run, args=(limited("lock_timeout"), job_id), kwargs={"waits": waits})
    worker.start()
    wait_until(lambda: job_row(job_id)["waiting_for"], 30, "the wait")
    assert "; blocked by the session with the pid " in job_row(job_id)["waiting_for"]
    holder.rollback()  # it lets go, and the job goes on
    worker.join(30)
    job = job_row(job_id)
    assert (job["status"], job["waiting_for"], job["last_error"]) == ("completed", None, None)


def test_a_statement_that_takes_long_by_itself_blames_nobody(fails_at_once) -> None:
    job, lines = fails_at_once(limited("statement_timeout", "SELECT pg_sleep(20)"))
    assert job["last_error"].endswith("canceling statement due to statement timeout")
    assert [line for line in lines if line["event"] == "batch.blocked"] == []


def test_who_held_an_earlier_lock_is_not_blamed_for_a_later_timeout(fails_at_once, sql, engine) -> None:
    """The batch waits for a lock, gets it, and then takes too long by itself."""
    sql("CREATE TABLE other ()")
    first = engine.connect()
    first.execute(text("LOCK TABLE other"))

    @kind
    def work(run: Run) -> Iterator[Batch]:
        Timer(0.4, first.close).start()
        run.begin().execute(text("LOCK TABLE other"))
        run.connection.execute(text("SET LOCAL statement_timeout = '500ms'; SELECT pg_sleep(5)"))
        yield from numbers(run, 10)

    job, _ = fails_at_once(work)
    assert job["last_error"].endswith("canceling statement due to statement timeout")


def test_a_batch_that_is_cut_off_while_it_waits_for_a_lock_blames_no_holder(holder, fails_at_once, waits, sql) -> None:
    """It was the connection that failed; the lock might have come."""

    def cut_off() -> None:
        wait_until(lambda: [wait for wait in list(waits._open.values()) if wait.blocker], 30, "the look")
        sql("""SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE wait_event_type = 'Lock' AND datname = current_database()""")

    somebody = Thread(target=cut_off)
    somebody.start()
    job, lines = fails_at_once(kind(lambda run: numbers(run, 10)))
    somebody.join()
    assert job["status"] == "failed"
    assert "blocked" not in job["last_error"]
    assert [line for line in lines if line["event"] == "batch.blocked"] == []


def test_a_lock_on_the_jobs_own_row_is_named_too(run, make, engine, waits) -> None:
    """The batch's last statement is its checkpoint, which waits for whoever looks at the job with FOR UPDATE."""
    job_id = make.job()
    other = engine.connect()

    @kind
    def work(run: Run) -> Iterator[Batch]:
        def lock() -> None:
            if not run.cursor and not seen:
                seen.append(other.execute(text("SELECT pg_backend_pid()")).scalar_one())
                other.execute(text("SELECT FROM background_jobs WHERE id = :id FOR UPDATE"), {"id": job_id})
                run.connection.execute(text(f"SET LOCAL lock_timeout = '{LIMIT}'"))
                Timer(5, other.close).start()

        yield from numbers(run, 10, before=lock)

    seen: list[int] = []
    with capture_logs() as lines:
        job = run(work, job_id, waits=waits)
    assert job["status"] == "completed"
    assert [line["pid"] for line in lines if line["event"] == "batch.blocked"] == seen


@pytest.fixture
def waiting(holder, engine) -> Iterator[tuple[Waits, Wait, Connection, Thread]]:
    """A batch that waits for the lock, whose holder has been seen; and the thread in which it waits."""
    waits = Waits()
    with engine.connect() as connection:
        wait = Wait(connection.execute(text("SELECT pg_backend_pid()")).scalar_one(), 0)

        def insert() -> None:
            with suppress(OperationalError):
                connection.execute(text("INSERT INTO done VALUES (1)"))

        thread = Thread(target=insert)
        thread.start()
        with waits.noted(wait):
            wait_until(lambda: waits.look(engine) or wait.blocker, 10, "the holder to be seen")
            yield waits, wait, connection, thread
        holder.rollback()
        thread.join()


def test_a_look_after_the_limit_has_ended_the_wait_forgets_nobody(waiting, engine, sql) -> None:
    waits, wait, _, thread = waiting
    holder_pid = wait.blocker.pid
    sql("SELECT pg_cancel_backend(:pid)", pid=wait.pid)
    thread.join()
    for _ in range(5):
        waits.look(engine)
    assert wait.blocker
    assert wait.blocker.pid == holder_pid


def test_a_look_by_a_role_that_may_see_no_session_still_tells_the_holders_pid(waiting, settings, sql) -> None:
    """As where a worker's role is set to another: then Postgres hides even the worker's own sessions from it."""
    waits, wait, _, _ = waiting
    holder_pid, wait.blocker = wait.blocker.pid, None
    role = f"longhaul_test_{secrets.token_hex(4)}"
    sql(f"CREATE ROLE {role} LOGIN")
    theirs = make_engine(as_role(settings.DATABASE_URL, role), application_name="theirs")
    try:
        waits.look(theirs)
    finally:
        theirs.dispose()
        sql(f"DROP ROLE {role}")
    assert wait.blocker
    assert (wait.blocker.pid, wait.blocker.seconds) == (holder_pid, None)


def test_who_blocks_no_more_is_forgotten_at_the_second_look(waiting, holder, engine) -> None:
    waits, wait, connection, thread = waiting
    holder.rollback()
    thread.join()
    seen = []
    for _ in range(3):
        waits.look(engine)
        seen.append(wait.blocker is None)
    assert seen == [False, True, True]
    connection.rollback()


def test_who_is_seen_again_after_a_look_without_anybody_survives_the_next_such_look() -> None:
    wait, holder = Wait(1, 0), Blocker(7, None, None, None)
    for seen in (holder, None, holder, None):
        wait.saw(seen)
    assert wait.blocker == holder
    wait.saw(None)
    assert wait.blocker is None


def test_without_a_long_wait_postgres_is_not_asked() -> None:
    class Nobody:
        def begin(self) -> Any:
            raise AssertionError("nothing is to be asked")

    waits = Waits()
    waits.look(Nobody())  # type: ignore[arg-type]
    with waits.noted(Wait(1, blockers.time.monotonic())):
        waits.look(Nobody())  # type: ignore[arg-type]
    waits.look(Nobody())  # type: ignore[arg-type]


def test_a_hidden_session_and_a_prepared_transaction_are_named_as_far_as_known() -> None:
    assert str(Blocker(7, None, None, None)) == "blocked by the session with the pid 7"
    assert str(Blocker(0, None, None, None)).startswith("blocked by a prepared transaction")


def test_whoever_kept_a_batch_waiting_that_is_stored_is_to_blame_for_nothing_later(run, done) -> None:
    seen: list[Wait | None] = []

    @kind
    def commits(run: Run) -> Iterator[Batch]:
        run.begin()
        seen.append(run._session.wait)
        run.commit()
        seen.append(run._session.wait)
        yield Batch([1], {"at": 1}, succeeded=1)
        seen.append(run._session.wait)

    assert run(commits)["status"] == "completed"
    assert [wait is None for wait in seen] == [False, True, True]


def test_of_several_who_block_a_batch_the_one_with_the_oldest_transaction_is_named(engine, done) -> None:
    waits = Waits()
    with ExitStack() as stack:
        sessions = [stack.enter_context(engine.connect()) for _ in range(4)]
        pids = [session.scalar(text("SELECT pg_backend_pid()")) for session in sessions]  # they begin in this order
        oldest, second, third, batch = sessions
        for one in (second, oldest, third):
            one.execute(text("LOCK TABLE done IN SHARE MODE"))
        inserted = stack.enter_context(ThreadPoolExecutor()).submit(batch.execute, text("INSERT INTO done VALUES (1)"))
        wait = Wait(pids[-1], 0)
        with waits.noted(wait):
            wait_until(lambda: waits.look(engine) or wait.blocker, 10, "a holder to be seen")
        for one in (second, oldest, third):
            one.rollback()
        inserted.result(30)
    assert wait.blocker
    assert (wait.blocker.pid, wait.blocker.application) == (pids[0], "test")
    assert wait.blocker.seconds in range(30)
