"""The loop, in the test's own process, with tiny kinds."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from structlog.testing import capture_logs

from actors.runtime.base.errors import ClaimLost
from actors.runtime.jobs import backoff
from actors.runtime.jobs.beats import Beats
from actors.runtime.jobs.claim import Claim
from actors.runtime.jobs.kinds import Kind, Start, job_kind
from actors.runtime.jobs.leaving import Leaving
from actors.runtime.jobs.loop import Loop
from actors.runtime.jobs.run import Batch, Run
from actors.runtime.jobs.session import Session
from actors.runtime.jobs.verdicts import Permanent, Snooze, Transient
from service.local.processes import wait_until
from tests.actors.runtime.tiny import AnyParams, kind, numbers


def test_a_job_is_done_batch_by_batch_and_its_counters_are_exact(run, done, events) -> None:
    @kind
    def count_to_100(run: Run) -> Iterator[Batch]:
        yield from numbers(run, 100)

    job = run(count_to_100)
    assert done() == list(range(1, 101))
    assert (job["status"], job["processed"], job["succeeded"], job["failed_count"]) == ("completed", 100, 100, 0)
    assert job["cursor"] == {"last_id": 100}
    assert [event["event"] for event in events(job["id"])] == ["claimed", "completed"]


def test_a_job_with_nothing_to_do_is_completed(run) -> None:
    assert run(kind(lambda run: numbers(run, 0)))["status"] == "completed"


def test_the_total_is_counted_at_the_first_claim_when_the_start_did_not(run) -> None:
    a_kind = replace(kind(lambda run: numbers(run, 10)), count=lambda _start, _params: 10)
    assert run(a_kind)["total"] == 10


def test_a_total_that_the_start_has_counted_is_not_counted_again(run, make) -> None:
    """It is what the progress is told of; by now there may be more, or less."""
    a_kind = replace(kind(lambda run: numbers(run, 10)), count=lambda _start, _params: 99)
    assert run(a_kind, make.job(total=10))["total"] == 10


def test_a_batch_and_its_checkpoint_commit_together_or_not_at_all(run, done, engine, job_row) -> None:
    """Whatever another session sees between two batches, the rows and the cursor agree."""
    seen = []

    @kind
    def watched(run: Run) -> Iterator[Batch]:
        def look(_ids: list[int]) -> None:
            job = job_row(run.job_id)
            seen.append((len(done()), job["processed"], (job["cursor"] or {"last_id": 0})["last_id"]))

        yield from numbers(run, 100, look)

    run(watched)
    assert seen == [(0, 0, 0), (50, 50, 50)]


def test_a_message_for_a_job_that_is_not_queued_does_nothing(make, run, done) -> None:
    for status in ("running", "paused", "completed", "cancelled", "failed"):
        job_id = make.job(status=status)
        assert run(kind(lambda run: numbers(run, 10)), job_id)["status"] == status
    assert done() == []


def test_a_second_message_takes_a_job_from_no_other_thread_of_its_worker(make, run, done, place) -> None:
    job_id = make.job(status="running", worker_id=place.worker_id())
    job = run(kind(lambda run: numbers(run, 10)), job_id)
    assert (job["status"], job["attempt"], done()) == ("running", 1, [])


@pytest.mark.parametrize(("verb", "status"), [("pause", "paused"), ("cancel", "cancelled")])
def test_a_request_is_obeyed_after_the_batch_in_hand(verb, status, run, done, sql, job_row) -> None:
    @kind
    def asked(run: Run) -> Iterator[Batch]:
        def ask(ids: list[int]) -> None:
            if ids[0] == 51:
                # From another session: it waits for nobody, for the batch holds no lock on the job yet.
                sql(f"SELECT {verb}_job(:id, 'dana')", id=run.job_id)

        yield from numbers(run, 1000, ask)

    job = run(asked)
    assert (job["status"], job["processed"], job["requested"]) == (status, 100, None)
    assert done() == list(range(1, 101))


def test_a_pause_that_comes_with_the_last_batch_is_ignored_but_a_cancel_is_not(run, sql) -> None:
    def asked(verb: str) -> Kind:
        def work(run: Run) -> Iterator[Batch]:
            yield from numbers(run, 50)
            sql("TRUNCATE done")
            sql(f"SELECT {verb}_job(:id, 'dana')", id=run.job_id)

        return kind(work)

    assert run(asked("pause"))["status"] == "completed"
    assert run(asked("cancel"))["status"] == "cancelled"


def test_a_pause_that_is_withdrawn_during_the_throttle_does_not_pause(run, sql, events, settings, job_row) -> None:
    @kind
    def asked(run: Run) -> Iterator[Batch]:
        def ask(_ids: list[int]) -> None:
            sql("SELECT pause_job(:id, 'dana')", id=run.job_id)
            threading.Thread(target=resume, args=(run.job_id,)).start()

        yield from numbers(run, 1000, ask)

    def resume(job_id: int) -> None:
        wait_until(lambda: job_row(job_id)["processed"], 30, "the end of the batch")
        sql("SELECT resume_job(:id, 'dana')", id=job_id)

    job = run(asked, settings=settings.model_copy(update={"THROTTLE_MS": 4000}))
    assert job["status"] == "queued"  # and on from there by itself
    assert [event["event"] for event in events(job["id"])][-2:] == ["pause_withdrawn", "requeued"]


def test_a_paused_job_goes_on_from_its_cursor_when_it_is_resumed(run, done, sql) -> None:
    @kind
    def paused_once(run: Run) -> Iterator[Batch]:
        def ask(ids: list[int]) -> None:
            if ids[0] == 51:
                sql("SELECT pause_job(:id, 'dana')", id=run.job_id)

        yield from numbers(run, 200, ask)

    job = run(paused_once)
    assert (job["status"], job["processed"]) == ("paused", 100)
    sql("SELECT resume_job(:id, 'dana')", id=job["id"])
    job = run(paused_once, job["id"])
    assert (job["status"], job["processed"], job["attempt"]) == ("completed", 200, 2)
    assert done() == list(range(1, 201))


def test_the_runtime_cap_puts_the_job_back_with_a_new_message(run, sql, done, events, settings) -> None:
    @kind
    def slow(run: Run) -> Iterator[Batch]:
        yield from numbers(run, 100, lambda _ids: Event().wait(1.1) and None)

    job = run(slow, settings=settings.model_copy(update={"MAX_RUNTIME_SECONDS": 1}))
    assert (job["status"], job["processed"]) == ("queued", 50)
    last = events(job["id"])[-1]
    assert (last["event"], last["reason"]) == ("requeued", "runtime cap of 1 s")
    assert sql("SELECT state FROM dramatiq.queue WHERE message_id = :id", id=job["message_id"])[0]["state"] == "queued"


@pytest.mark.parametrize(("waiting", "status", "processed"), [(False, "completed", 200), (True, "queued", 50)])
def test_a_job_that_ran_for_a_while_gives_way_when_others_wait(
    waiting, status, processed, run, make, sql, done, events, settings
) -> None:
    @kind
    def slow(run: Run) -> Iterator[Batch]:
        yield from numbers(run, 200, lambda ids: Event().wait(1.1) if ids[0] == 1 else None)

    job_id = make.job()
    sql("SELECT send_job_message(:id)", id=job_id)  # one too many of its own is nobody else
    if waiting:
        make.job()
    job = run(slow, job_id, settings=settings.model_copy(update={"GIVE_WAY_SECONDS": 1}))
    assert (job["status"], job["processed"]) == (status, processed)
    last = events(job["id"])[-1]
    assert (last["event"], last["reason"]) == (("requeued", "others wait") if waiting else ("completed", None))


def test_a_job_beats_outside_also_once_it_has_asked_whether_others_wait(run, place, settings) -> None:
    beating = []

    @kind
    def slow(run: Run) -> Iterator[Batch]:
        for batch in numbers(run, 100, lambda ids: Event().wait(1.1) if ids[0] == 1 else None):
            yield batch
            beating.append(run.job_id in place.beats._outside)

    job = run(slow, settings=settings.model_copy(update={"GIVE_WAY_SECONDS": 1}))
    assert (job["status"], beating) == ("completed", [True, True])


def test_a_heartbeat_that_cannot_be_written_delays_no_other(make, engine, worker_id, sql) -> None:
    beats, jobs = Beats(), [make.job(), make.job()]
    for job_id in jobs:
        with engine.begin() as connection:
            claim = Claim.acquire(connection, job_id, worker_id, 50)
        assert claim
        beats._outside[job_id] = (claim, time.monotonic() - 60)
    sql("UPDATE background_jobs SET heartbeat_at = now() - interval '1 minute'")
    sql(f"""CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                RAISE 'No space left on device' USING ERRCODE = 'disk_full'; END $$;
            CREATE TRIGGER no_space BEFORE UPDATE ON background_jobs FOR EACH ROW WHEN (OLD.id = {jobs[0]})
                EXECUTE FUNCTION no_space()""")
    with capture_logs() as lines:
        beats.beat(engine)
    old = sql("SELECT id FROM background_jobs WHERE heartbeat_at < now() - interval '30 s'")
    assert old == [{"id": jobs[0]}]
    assert [line["job_id"] for line in lines if line["event"] == "beat.failed"] == jobs[:1]


def test_a_stopping_worker_puts_the_job_back_after_the_batch_in_hand(run, done, events) -> None:
    stopping = Event()
    job = run(kind(lambda run: numbers(run, 1000, lambda _ids: stopping.set())), stopping=stopping)
    assert (job["status"], job["processed"]) == ("queued", 50)
    last = events(job["id"])[-1]
    assert (last["event"], last["reason"]) == ("requeued", "the worker is stopping")


def paused_midway(run: Run, sql: Any) -> Iterator[Batch]:
    for batch in numbers(run, 100):
        sql("SELECT pause_job(:id, 'a test')", id=run.job_id)
        yield batch


def test_what_a_kind_tidies_up_is_over_before_its_job_goes_back(run, sql) -> None:
    seen = []

    def tidy(run: Run) -> Iterator[Batch]:
        try:
            yield from paused_midway(run, sql)
        finally:
            seen.extend(sql("SELECT status FROM background_jobs WHERE id = :id", id=run.job_id))

    assert run(kind(tidy))["status"] == "paused"
    assert seen == [{"status": "running"}]


def test_a_stopping_worker_does_not_wait_for_its_throttle(run, make, settings, job_row) -> None:
    job_id, stopping = make.job(), Event()

    def stop() -> None:
        wait_until(lambda: job_row(job_id)["processed"], 30, "the first batch")
        stopping.set()

    threading.Thread(target=stop).start()
    slow = settings.model_copy(update={"THROTTLE_MS": 60_000})
    began = time.monotonic()
    job = run(kind(lambda run: numbers(run, 1000)), job_id, stopping=stopping, settings=slow)
    assert (job["status"], job["processed"]) == ("queued", 50)
    assert time.monotonic() - began < 45


@pytest.mark.parametrize("bad", [[101], [113], [101, 102], [101, 102, 113]])
def test_rows_that_fail_on_their_data_are_found_passed_over_and_named(bad, run, done, events, sql) -> None:
    sql(f"ALTER TABLE done ADD CHECK (n NOT IN ({', '.join(map(str, bad))}))")
    job = run(kind(lambda run: numbers(run, 1000)))
    assert (job["status"], job["processed"], job["failed_count"]) == ("completed", 1000, len(bad))
    assert done() == [n for n in range(1, 1001) if n not in bad]
    failed = [event for event in events(job["id"]) if event["event"] == "row_failed"]
    assert [event["detail"]["id"] for event in failed] == bad
    assert "done_n_check" in job["last_error"]
    assert "done_n_check" in failed[0]["reason"]


def test_at_most_a_hundred_failed_rows_are_named_and_all_are_counted(run, events, sql) -> None:
    sql("ALTER TABLE done ADD CHECK (n > 150)")
    job = run(kind(lambda run: numbers(run, 200), max_refusals_in_a_row=0))
    assert (job["status"], job["processed"]) == ("completed", 200)
    assert job["failed_count"] == 150
    assert len([event for event in events(job["id"]) if event["event"] == "row_failed"]) == 100


def test_a_lost_connection_is_waited_out_and_no_row_is_done_twice(run, done, events) -> None:
    losses = [51]

    @kind
    def interrupted(run: Run) -> Iterator[Batch]:
        def cut(ids: list[int]) -> None:
            if ids[0] in losses:
                losses.remove(ids[0])
                run.connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

        yield from numbers(run, 100, cut)

    job = run(interrupted)
    assert (job["status"], job["processed"]) == ("completed", 100)
    assert done() == list(range(1, 101))
    assert job["last_error"] is None, "it is mended: what failed an hour ago is not why it does not move now"


class LosesAnAnswer:
    """An engine whose n-th transaction commits, but the answer to that never arrives."""

    def __init__(self, engine: Engine, nth: int) -> None:
        self._engine = engine
        self._left = nth

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            yield connection
        self._left -= 1
        if not self._left:
            raise OperationalError("COMMIT", None, ConnectionResetError("the answer was lost"))

    def connect(self) -> Connection:
        return self._engine.connect()


def test_a_claim_whose_answer_was_lost_does_not_orphan_the_job(run, engine, events) -> None:
    job = run(kind(lambda run: numbers(run, 100)), engine=LosesAnAnswer(engine, 1))
    assert (job["status"], job["processed"], job["attempt"]) == ("completed", 100, 2)
    assert [event["event"] for event in events(job["id"])] == ["claimed", "requeued", "claimed", "completed"]


def in_doubt(engine: Engine, statement: str, values: dict[str, Any]) -> threading.Thread:
    """A transaction whose answer is lost: it commits a little later, in a session that nobody hears of any more."""
    done = Event()

    def commit_late() -> None:
        with engine.begin() as connection:
            connection.execute(text(statement), values)
            done.set()
            Event().wait(0.5)

    thread = threading.Thread(target=commit_late)
    thread.start()
    assert done.wait(30)
    return thread


def test_a_claim_whose_commit_is_still_on_its_way_is_waited_for_and_given_back(
    make, engine, worker_id, job_row
) -> None:
    job_id = make.job()
    late = in_doubt(engine, "SELECT claim_job(:id, :worker)", {"id": job_id, "worker": worker_id})
    with engine.begin() as connection:
        Claim.release_unconfirmed(connection, job_id, worker_id)
        claim = Claim.acquire(connection, job_id, worker_id, 50)
    late.join()
    assert claim is not None
    assert (job_row(job_id)["status"], job_row(job_id)["attempt"]) == ("running", 2)


def test_a_checkpoint_whose_commit_is_still_on_its_way_is_waited_for(make, engine, worker_id) -> None:
    job_id = make.job()
    with engine.begin() as connection:
        claim = Claim.acquire(connection, job_id, worker_id, 50)
    move = """UPDATE background_jobs SET cursor = '{"last_id": 9}', processed = 1, failed_count = 1 WHERE id = :id"""
    late = in_doubt(engine, move, {"id": job_id})
    with engine.begin() as connection:
        assert claim.reload(connection).cursor == {"last_id": 9}
    late.join()


def test_a_total_that_is_counted_late_counts_what_is_done_already(run, make) -> None:
    def left(_start: Start, _params: AnyParams) -> int:
        return 60

    def count_on(run: Run) -> Iterator[Batch]:
        yield from numbers(run, 100)

    job_id = make.job(cursor={"last_id": 40}, processed=40, succeeded=40)
    job = run(job_kind(queue="maintenance", params=AnyParams, count=left)(count_on), job_id)
    assert (job["total"], job["processed"]) == (100, 100)


def test_a_row_that_was_passed_over_is_counted_once_though_the_answer_was_lost(run, engine, events, sql) -> None:
    sql("ALTER TABLE done ADD CHECK (n <> 3)")
    job = run(kind(lambda run: numbers(run, 5)), engine=LosesAnAnswer(engine, 2))
    assert (job["status"], job["processed"], job["failed_count"]) == ("completed", 5, 1)
    assert [event["event"] for event in events(job["id"])] == ["claimed", "row_failed", "completed"]


def test_a_stopping_worker_that_meets_a_transient_failure_still_puts_the_job_back(run, events) -> None:
    stopping = Event()

    @kind
    def locked(run: Run) -> Iterator[Batch]:
        stopping.set()
        run.begin().execute(text("SET LOCAL statement_timeout = 1; SELECT pg_sleep(1)"))
        yield from numbers(run, 1)

    job = run(locked, stopping=stopping)
    assert (job["status"], job["recoveries"]) == ("queued", 0)
    last = events(job["id"])[-1]
    assert (last["event"], last["reason"]) == ("requeued", "the worker is stopping")


class RefusesAfter:
    """An engine that can begin only so many transactions; then Postgres is away."""

    def __init__(self, engine: Engine, number: int) -> None:
        self._engine = engine
        self._left = number

    def begin(self) -> Any:
        self._left -= 1
        if self._left < 0:
            raise OperationalError("BEGIN", None, ConnectionRefusedError("nobody listens"))
        return self._engine.begin()

    def connect(self) -> Connection:
        return self._engine.connect()


class Strikes:
    """An engine whose n-th transaction meets an error before it begins."""

    def __init__(self, engine: Engine, nth: int, error: Exception) -> None:
        self._engine = engine
        self._left = nth
        self._error = error

    def begin(self) -> Any:
        self._left -= 1
        if not self._left:
            raise self._error
        return self._engine.begin()

    def connect(self) -> Connection:
        return self._engine.connect()


AWAY = OperationalError("BEGIN", None, ConnectionRefusedError("nobody listens"))


@pytest.mark.parametrize("nth", [2, 3], ids=["while it asks who waits", "while it beats"])
@pytest.mark.parametrize("strike", [AWAY, LookupError("a bug")], ids=str)
def test_an_error_while_another_is_waited_out_is_waited_out_too_if_it_can_be(
    nth, strike, run, engine, monkeypatch
) -> None:
    monkeypatch.setattr(backoff, "backoff_seconds", lambda failures: 0.1)
    failures = [Transient("the mail server is away")]

    @kind
    def fails_once(run: Run) -> Iterator[Batch]:
        if failures:
            raise failures.pop()
        yield from numbers(run, 1)

    with capture_logs():  # a picture of each frame would take a second
        job = run(fails_once, engine=Strikes(engine, nth, strike))
    assert (job["status"], job["last_error"]) == (
        ("completed", None)
        if strike is AWAY
        else ("failed", "LookupError: a bug, after 1 failures in a row, the last: the mail server is away")
    )


def test_a_bug_while_a_crash_is_written_down_is_not_tried_again(run, make, engine, job_row) -> None:
    @kind
    def crashes(run: Run) -> Iterator[Batch]:
        raise LookupError("the first")
        yield

    job_id = make.job()
    with capture_logs(), pytest.raises(LookupError, match="the second"):
        run(crashes, job_id, engine=Strikes(engine, 2, LookupError("the second")))
    assert job_row(job_id)["status"] == "running"  # for the sweep


@pytest.mark.parametrize(("strike", "stops"), [(LookupError("a bug"), False), (AWAY, True)], ids=str)
def test_a_claim_is_not_tried_again_after_a_bug_or_by_a_worker_that_stops(
    strike, stops, run, make, engine, place, job_row, monkeypatch
) -> None:
    monkeypatch.delattr("actors.runtime.jobs.perform.backoff_seconds")
    job_id = make.job()
    if stops:
        place.stopping.set()
    with pytest.raises(type(strike)):
        run(kind(lambda run: numbers(run, 1)), job_id, engine=Strikes(engine, 1, strike))
    assert (job_row(job_id)["status"], job_row(job_id)["attempt"]) == ("queued", 0)


def test_a_count_that_is_wrong_fails_the_job(run) -> None:
    def wrong(_start: Start, _params: Any) -> int:
        raise LookupError("no such thing")

    with capture_logs():
        job = run(replace(kind(lambda run: numbers(run, 1)), count=wrong))
    assert (job["status"], job["processed"], job["last_error"]) == ("failed", 0, "LookupError: no such thing")


def test_a_kind_that_fails_as_it_tidies_up_is_logged_and_its_job_is_paused(run, sql) -> None:
    @kind
    def untidy(run: Run) -> Iterator[Batch]:
        try:
            yield from paused_midway(run, sql)
        finally:
            raise LookupError("no such folder")

    with capture_logs() as lines:
        job = run(untidy)
    assert (job["status"], job["processed"]) == ("paused", 50)
    (line,) = [line for line in lines if line["event"] == "job.close_failed"]
    assert (line["job_id"], line["error"]) == (job["id"], "LookupError: no such folder")


def test_where_two_errors_meet_the_first_is_told_as_the_cause_of_the_second(run, engine) -> None:
    stopping = Event()

    @kind
    def locked(run: Run) -> Iterator[Batch]:
        stopping.set()
        run.begin().execute(text("SET LOCAL statement_timeout = 1; SELECT pg_sleep(1)"))
        yield from numbers(run, 1)

    with capture_logs() as lines:
        job = run(locked, stopping=stopping, engine=RefusesAfter(engine, 1))
    assert job["status"] == "running"  # for the sweep
    (line,) = [line for line in lines if line["event"] == "job.abandoned"]
    assert line["cause"] == "canceling statement due to statement timeout"
    assert line["error"] == "nobody listens"


def test_the_error_that_a_stop_cuts_short_is_in_the_log(run) -> None:
    stopping = Event()

    @kind
    def locked(run: Run) -> Iterator[Batch]:
        stopping.set()
        run.begin().execute(text("SET LOCAL statement_timeout = 1; SELECT pg_sleep(1)"))
        yield from numbers(run, 1)

    with capture_logs() as lines:
        assert run(locked, stopping=stopping)["status"] == "queued"
    (line,) = [line for line in lines if line["event"] == "batch.interrupted"]
    assert line["error"] == "canceling statement due to statement timeout"


def test_a_count_that_takes_too_long_leaves_the_total_unknown_and_the_job_goes_on(run, done) -> None:
    def slow(start: Start, _params: Any) -> int:
        start.connection.execute(text("SET LOCAL statement_timeout = 1; SELECT pg_sleep(1)"))
        return 0

    job = run(replace(kind(lambda run: numbers(run, 100)), count=slow))
    assert (job["status"], job["total"], job["processed"]) == ("completed", None, 100)


def test_after_so_many_transient_failures_in_a_row_the_job_fails_and_can_be_resumed(run, done, settings, sql) -> None:
    broken = [True]

    @kind
    def locked(run: Run) -> Iterator[Batch]:
        if broken:
            run.begin().execute(text("SET LOCAL statement_timeout = 1; SELECT pg_sleep(1)"))
        yield from numbers(run, 100)

    job = run(locked, settings=settings.model_copy(update={"MAX_BATCH_FAILURES": 2}))
    assert job["status"] == "failed"
    assert job["last_error"] == "2 failures in a row, the last: canceling statement due to statement timeout"
    broken.clear()
    sql("SELECT resume_job(:id, 'dana')", id=job["id"])
    assert run(locked, job["id"])["status"] == "completed"
    assert done() == list(range(1, 101))


def test_while_backing_off_the_heart_beats_and_a_cancel_is_obeyed(run, make, job_row, sql, place, monkeypatch) -> None:
    """In the middle of a wait: the next try, which would obey it too, is a minute away."""
    monkeypatch.setattr(backoff, "backoff_seconds", lambda failures: 60)
    monkeypatch.setattr(backoff, "BEAT_SECONDS", 0.2)
    job_id = make.job()

    @kind
    def locked(run: Run) -> Iterator[Batch]:
        run.begin().execute(text("SET LOCAL statement_timeout = 1; SELECT pg_sleep(1)"))
        yield from numbers(run, 1)

    worker = threading.Thread(target=run, args=(locked, job_id))
    worker.start()
    wait_until(lambda: job_row(job_id)["waiting_for"], 30, "the first beat")
    first = job_row(job_id)
    assert (first["status"], first["waiting_for"]) == ("running", "canceling statement due to statement timeout")
    wait_until(lambda: job_row(job_id)["heartbeat_at"] > first["heartbeat_at"], 30, "the next beat")
    sql("SELECT cancel_job(:id, 'dana')", id=job_id)
    try:
        wait_until(lambda: job_row(job_id)["status"] == "cancelled", 30, "the cancel to be obeyed")
    finally:
        place.stopping.set()  # or the thread would outlive a test that fails
        worker.join(30)
    job = job_row(job_id)
    assert (job["status"], job["waiting_for"], job["last_error"]) == ("cancelled", None, None)


def test_a_stop_ends_a_wait_for_the_next_try(run, make, job_row, events, place, monkeypatch) -> None:
    monkeypatch.setattr(backoff, "backoff_seconds", lambda failures: 20)
    job_id = make.job()

    @kind
    def fails(run: Run) -> Iterator[Batch]:
        raise Transient("away")
        yield

    worker = threading.Thread(target=run, args=(fails, job_id))
    worker.start()
    wait_until(lambda: job_row(job_id)["waiting_for"], 30, "the wait")
    place.stopping.set()
    worker.join(10)
    assert not worker.is_alive()
    assert (job_row(job_id)["status"], events(job_id)[-1]["reason"]) == ("queued", "the worker is stopping")


def test_an_unexpected_error_fails_the_job_and_names_it(run, done) -> None:
    @kind
    def buggy(run: Run) -> Iterator[Batch]:
        def crash(ids: list[int]) -> None:
            if ids[0] == 51:
                raise LookupError("no such thing")

        yield from numbers(run, 100, crash)

    job = run(buggy)
    assert (job["status"], job["processed"]) == ("failed", 50)
    assert job["last_error"] == "LookupError: no such thing"
    assert done() == list(range(1, 51))


def test_a_statement_that_is_wrong_fails_the_job_at_once(run) -> None:
    @kind
    def misspelt(run: Run) -> Iterator[Batch]:
        yield from numbers(run, 100, lambda ids: run.connection.execute(text("SELECT no_such_column")) and None)

    job = run(misspelt)
    assert (job["status"], job["failed_count"]) == ("failed", 0)
    assert 'column "no_such_column" does not exist' in job["last_error"]


WRITES = {
    "a checkpoint": lambda claim, connection: claim.checkpoint(connection, Batch([1], {"last_id": 1}, succeeded=1)),
    "a heartbeat": lambda claim, connection: claim.beat(connection, "why"),
    "a total": lambda claim, connection: claim.set_total(connection, 5),
    "what is left": lambda claim, connection: claim.set_left(connection, 5),
    "an end": lambda claim, connection: claim.leave(connection, "completed", "completed", None),
    "a look at itself": lambda claim, connection: claim.reload(connection),
}


@pytest.mark.parametrize("later", ["it has failed", "it is queued", "it runs under a later claim"])
@pytest.mark.parametrize("write", WRITES.values(), ids=list(WRITES))
def test_a_claim_that_was_taken_away_writes_nothing(write, later, make, engine, worker_id, job_row) -> None:
    job_id = make.job()
    with engine.begin() as connection:
        claim = Claim.acquire(connection, job_id, worker_id, 50)
        connection.execute(text("SELECT reset_job(:id, 'dana')"), {"id": job_id})
        if later != "it has failed":
            connection.execute(text("SELECT resume_job(:id, 'dana')"), {"id": job_id})
        if later == "it runs under a later claim":
            assert Claim.acquire(connection, job_id, worker_id, 50)
    before = job_row(job_id)
    with engine.begin() as connection, pytest.raises(ClaimLost):  # and then commits, as if nobody had noticed
        write(claim, connection)
    assert job_row(job_id) == before


@pytest.mark.parametrize("swallow", [False, True])
def test_a_worker_whose_claim_was_taken_away_writes_nothing(swallow, run, done, sql, job_row) -> None:
    """Another worker has taken over, and the batch meets an error.

    A kind that swallows it hands its batch over, which the checkpoint's fence stops. One that does not is about to be
    tried again: then it is stopped by the look at the claim.
    """

    @kind
    def zombie(run: Run) -> Iterator[Batch]:
        def lose(ids: list[int]) -> None:
            if ids[0] == 51:
                sql("SELECT leave_running(:id, NULL, 'queued', 'recovered', 'sweep')", id=run.job_id)
                sql("SELECT claim_job(:id, 99)", id=run.job_id)
                with suppress(DBAPIError) if swallow else nullcontext(), run.connection.begin_nested():
                    run.connection.execute(text("SELECT 1 / 0"))

        yield from numbers(run, 1000, lose)

    job = run(zombie)
    assert (job["status"], job["worker_id"], job["attempt"], job["processed"]) == ("running", 99, 2, 50)
    assert done() == list(range(1, 51))


def test_a_job_that_was_reset_while_its_worker_was_busy_stays_reset(run, done, sql) -> None:
    @kind
    def reset(run: Run) -> Iterator[Batch]:
        yield from numbers(run, 1000, lambda ids: ids[0] == 51 and sql("SELECT reset_job(:id, 'ops')", id=run.job_id))

    job = run(reset)
    assert (job["status"], job["last_error"], job["processed"]) == ("failed", "Reset by ops", 50)
    assert done() == list(range(1, 51))


@pytest.fixture
def claim(make, engine, worker_id) -> Claim:
    with engine.begin() as connection:
        taken = Claim.acquire(connection, make.job(), worker_id, 50)
    assert taken
    return taken


def test_a_checkpoint_is_a_sign_of_life_and_of_progress_and_forgets_the_losses(claim, engine, sql, job_row) -> None:
    old = "now() - interval '1 hour'"
    sql(f"""UPDATE background_jobs SET heartbeat_at = {old}, updated_at = {old}, waits_since = {old}, waiting_for = 'x',
                                       last_error = 'x', recoveries = 2, failures = 3, rate_from_at = NULL,
                                       rate_next_at = {old}, rate_next = 7""")  # fmt: skip
    before = job_row(claim.job_id)
    claim.stats["found"] = 1
    with engine.begin() as connection:
        began = connection.scalar(text("SELECT now()"))  # the batch's own work may have taken long
        claim.checkpoint(connection, Batch([1, 2], {"last_id": 2}, succeeded=2))
    row = job_row(claim.job_id)
    assert min(row[name] for name in ("heartbeat_at", "updated_at", "rate_next_at")) > began
    assert (row["recoveries"], row["failures"], row["waits_since"], row["waiting_for"]) == (0, 0, None, None)
    assert (row["last_error"], claim.last_error) == (None, None)  # no row has failed
    assert (row["rate_from"], row["rate_from_at"]) == (7, before["rate_next_at"])
    assert (row["rate_next"], row["rate_next_at"] > before["rate_next_at"]) == (2, True)
    assert (row["stats"], claim.processed, claim.cursor) == ({"found": 1}, 2, {"last_id": 2})
    sql('UPDATE background_jobs SET stats = \'{"by": "a hand"}\'')
    with engine.begin() as connection:
        claim.checkpoint(connection, Batch([3], {"last_id": 3}, succeeded=1))
    again = job_row(claim.job_id)
    assert [again[name] for name in ("rate_from", "rate_from_at", "rate_next")] == [
        row[name] for name in ("rate_from", "rate_from_at", "rate_next")
    ]
    assert again["stats"] == {"by": "a hand"}  # the kind has nothing new to say


def test_what_an_earlier_run_has_said_is_not_written_by_one_that_says_nothing(
    make, engine, worker_id, sql, job_row
) -> None:
    job_id = make.job(stats='{"found": 1}')
    with engine.begin() as connection:
        claim = Claim.acquire(connection, job_id, worker_id, 50)
        assert claim
        connection.execute(text("UPDATE background_jobs SET stats = '{}'"))
        claim.checkpoint(connection, Batch([3], {"last_id": 3}, succeeded=1))
    assert (claim.stats, job_row(job_id)["stats"]) == ({"found": 1}, {})


@pytest.mark.parametrize(("seconds", "anew"), [(29, False), (31, True)])
def test_a_rate_is_measured_anew_every_half_minute(seconds, anew, claim, engine, sql, job_row) -> None:
    sql("""UPDATE background_jobs SET processed = 5, succeeded = 5, rate_from = 1, rate_next = 3,
                  rate_from_at = now() - interval '1 hour', rate_next_at = now() - make_interval(secs => :s)""",
        s=seconds)  # fmt: skip
    before = job_row(claim.job_id)
    with engine.begin() as connection:
        claim.checkpoint(connection, Batch([1, 2], {"last_id": 2}, succeeded=2))
    row = job_row(claim.job_id)
    assert (row["rate_from"], row["rate_next"]) == ((3, 7) if anew else (1, 3))
    assert row["rate_from_at"] == before["rate_next_at" if anew else "rate_from_at"]
    assert (row["rate_next_at"] > before["rate_next_at"]) is anew


def test_a_claim_knows_the_total_as_soon_as_it_is_set(claim, engine, sql) -> None:
    sql("UPDATE background_jobs SET processed = 5, succeeded = 3, failed_count = 2")
    with engine.begin() as connection:
        claim.set_total(connection, 10)
        assert claim.total == 13  # what failed is among what is left
        claim.set_left(connection, 10)
    assert claim.total == 15


def test_whether_others_wait_is_asked_once_a_second_and_not_after_each_batch(run, settings, monkeypatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("actors.runtime.jobs.leaving.ASK_SECONDS", 60)
    monkeypatch.setattr(Leaving, "ask_who_waits", lambda *_: bool(asked.append(1)))
    at_once = settings.model_copy(update={"GIVE_WAY_SECONDS": 0, "BATCH_SIZE": 10})
    assert run(kind(lambda run: numbers(run, 50)), settings=at_once)["status"] == "completed"
    assert asked == [1]


def test_a_job_does_a_batch_before_it_gives_way(run, make, done, settings) -> None:
    """Otherwise two could give way to each other forever."""
    make.job()
    job = run(kind(lambda run: numbers(run, 100)), settings=settings.model_copy(update={"GIVE_WAY_SECONDS": 0}))
    assert (job["status"], job["processed"]) == ("queued", 50)


def test_the_runtime_cap_ends_no_row_of_failures(run, settings, monkeypatch) -> None:
    """Otherwise there would never be ten."""
    monkeypatch.setattr(backoff, "backoff_seconds", lambda failures: 0.3)
    failures = [Transient("away"), Transient("away")]

    @kind
    def fails_twice(run: Run) -> Iterator[Batch]:
        if failures:
            raise failures.pop()
        yield from numbers(run, 50)

    job = run(fails_twice, settings=settings.model_copy(update={"MAX_RUNTIME_SECONDS": 0.2}))
    assert (job["status"], job["processed"], failures) == ("queued", 50, [])  # at the first success


def test_others_beat_for_a_run_only_while_it_has_no_transaction(run, place) -> None:
    seen: list[bool] = []

    @kind
    def works(run: Run) -> Iterator[Batch]:
        for step in (lambda: None, run.begin, run.commit, run.begin):
            step()
            seen.append(run.job_id in place.beats._outside)
        yield Batch([1], {"at": 1}, succeeded=1)

    assert run(works)["status"] == "completed"
    assert (seen, place.beats._outside) == ([True, False, True, False], {})


def test_a_wait_that_is_told_again_and_again_has_begun_with_the_first(claim, engine, job_row) -> None:
    began = []
    for reason in ("deadlock detected", "deadlock detected", None, "the server is away"):
        with engine.begin() as connection:
            claim.beat(connection, reason)
        began.append(job_row(claim.job_id)["waits_since"])
    assert began[0] is not None
    assert set(began) == {began[0]}


def test_rows_that_failed_in_another_job_leave_room_for_those_of_this_one(claim, make, engine, sql, events) -> None:
    sql(
        """INSERT INTO job_events (job_id, event, to_status, actor, attempt)
           SELECT id, CASE WHEN id = :own THEN 'resumed' ELSE 'row_failed' END, 'running', 'x', 1
           FROM background_jobs, generate_series(1, 100) WHERE id IN (:own, :other)""",
        own=claim.job_id, other=make.job(),
    )  # fmt: skip
    with engine.begin() as connection:
        claim.row_failed(connection, Batch([datetime(2026, 1, 2, tzinfo=UTC)], {"last_id": 1}, failed=1), "bad row")
    told = events(claim.job_id)[-1]
    assert (told["event"], told["detail"], told["reason"]) == (
        "row_failed", {"id": "2026-01-02 00:00:00+00:00"}, "bad row",
    )  # fmt: skip


def test_a_claim_in_doubt_is_given_back_only_if_it_is_this_workers(claim, engine, job_row, events) -> None:
    for worker, status in ((claim.worker_id + 1, "running"), (claim.worker_id, "queued")):
        with engine.begin() as connection:
            Claim.release_unconfirmed(connection, claim.job_id, worker)
        assert job_row(claim.job_id)["status"] == status
    told = events(claim.job_id)[-1]
    assert (told["event"], told["actor"], told["reason"]) == (
        "requeued", f"worker:{claim.worker_id}", "the response to the claim was lost",
    )  # fmt: skip


def test_a_claim_that_was_lost_wakes_whoever_waits_and_is_not_beaten_for_any_more(claim, engine, sql, job_row) -> None:
    beats = Beats()
    beats.outside(claim)
    beats.beat(engine)
    assert claim.requested is None
    sql("SELECT reset_job(:id, 'dana')", id=claim.job_id)
    beats.beat(engine)  # it is out there for a moment only
    assert (claim.requested, list(beats._outside)) == (None, [claim.job_id])
    beats._outside[claim.job_id] = (claim, time.monotonic() - 6)
    beats.beat(engine)
    assert (claim.requested, beats._outside) == ("lost", {})


def test_only_a_claim_that_is_out_there_for_seconds_is_beaten_for(claim, engine, sql, job_row) -> None:
    beats = Beats()
    for seconds, beaten in ((4, False), (5.5, True)):
        sql("UPDATE background_jobs SET heartbeat_at = now() - interval '1 minute'")
        before = job_row(claim.job_id)["heartbeat_at"]
        beats._outside[claim.job_id] = (claim, time.monotonic() - seconds)
        beats.beat(engine)
        assert (job_row(claim.job_id)["heartbeat_at"] > before) is beaten


def test_after_a_bad_row_the_batches_grow_to_their_size_again(run, sql) -> None:
    sql("ALTER TABLE done ADD CHECK (n <> 3)")
    with capture_logs() as lines:
        run(kind(lambda run: numbers(run, 100), batch_size=16))
    sizes = [line["items"] for line in lines if line["event"] == "batch.start"]
    assert sizes[:12] == [16, 8, 4, 2, 4, 2, 1, 1, 2, 4, 8, 16]
    failed = [(line["first"], line["last"]) for line in lines if line["event"] == "batch.done" and line["failed"] == 1]
    assert failed == [(3, 3)]
    assert [line["ids"] for line in lines if line["event"] == "batch.failed"] == [16, 8, 4, 4, 2, 1]


def test_each_batch_and_the_end_are_logged_and_wake_the_outbox(run, make) -> None:
    woken: list[int] = []
    job_id = make.job(total=80)
    with capture_logs() as lines:
        run(kind(lambda run: numbers(run, 60)), job_id, wake_outbox=lambda: woken.append(1))
    batches = [line for line in lines if line["event"] == "batch.done"]
    names = ("job_id", "first", "last", "failed", "processed", "total", "percent", "succeeded")
    assert [[line[name] for name in names] for line in batches] == [
        [job_id, 1, 50, 0, 50, 80, 62.5, 50],
        [job_id, 51, 60, 0, 60, 80, 75.0, 10],
    ]
    (picked,) = [line for line in lines if line["event"] == "job.picked"]
    assert (picked["queue"], picked["job_id"], picked["attempt"]) == ("maintenance", job_id, 1)
    (ended,) = [line for line in lines if line["event"] == "job.finished"]
    assert (ended["job_id"], ended["processed"], ended["status"]) == (job_id, 60, "completed")
    assert len(woken) == 3


@pytest.mark.parametrize(
    ("error", "event", "told"),
    [
        (Snooze(60, "a quota"), "job.requeued", "snoozed"),
        (Permanent("closed", "closed"), "job.failed", "failed"),
        (LookupError("a bug"), "job.failed", "failed"),
    ],
)
def test_the_log_and_the_timeline_name_how_a_run_ended(error, event, told, run, make, events) -> None:
    @kind
    def fails(run: Run) -> Iterator[Batch]:
        raise error
        yield

    with capture_logs() as lines:
        job = run(fails)
    assert (job["failures"], events(job["id"])[-1]["event"]) == (0, told)
    (ended,) = [line for line in lines if line["event"].startswith("job.") and "why" in line]
    assert (ended["event"], ended["status"], ended["why"]) == (
        event,
        job["status"],
        job["waiting_for"] or job["last_error"],
    )
    assert ("job.crashed" in [line["event"] for line in lines]) is isinstance(error, LookupError)
    assert "job.claim_lost" not in [line["event"] for line in lines]  # it does not look for what it gave back


def test_a_message_that_starts_nothing_is_in_the_log(run, make) -> None:
    job_id = make.job(status="paused")
    with capture_logs() as lines:
        run(kind(lambda run: numbers(run, 1)), job_id)
    assert [(line["event"], line["job_id"], line["kind"]) for line in lines] == [("job.skipped", job_id, "<lambda>")]


@pytest.mark.parametrize(("seconds", "kept"), [(0.2, 1), (40, 40), (1e9, 86_400)])
def test_a_snooze_lasts_between_a_second_and_a_day(seconds, kept, run) -> None:
    @kind
    def snoozes(run: Run) -> Iterator[Batch]:
        run.snooze(seconds, "a quota")
        yield

    job = run(snoozes)
    assert abs((job["wait_until"] - job["updated_at"]).total_seconds() - kept) < 0.5


def test_a_wait_without_a_word_beats_not_and_one_with_a_word_every_other_second(run, sql, monkeypatch) -> None:
    monkeypatch.setattr("actors.runtime.jobs.run.BEAT_SECONDS", 0.3)
    seen: list[bool] = []

    @kind
    def waits(run: Run) -> Iterator[Batch]:
        yield Batch([0], {"at": 0}, succeeded=1)
        for number, why in enumerate((None, "spring"), 1):
            sql("UPDATE background_jobs SET heartbeat_at = NULL, updated_at = now() - interval '1 hour'")
            run.wait(0.8, why)
            row = sql("SELECT heartbeat_at, updated_at, waits_since FROM background_jobs")[0]
            seen.append(row["heartbeat_at"] is not None)
            if why:
                seen.append((row["updated_at"] - row["waits_since"]).total_seconds() > 0.2)  # more than one beat
            yield Batch([number], {"at": number}, succeeded=1)

    assert run(waits)["status"] == "completed"
    assert seen == [False, True, True]


def test_a_wait_with_a_word_beats_no_more_often_than_it_has_to(run, monkeypatch) -> None:
    told: list[str | None] = []
    beat = Session.beat
    monkeypatch.setattr("actors.runtime.jobs.run.BEAT_SECONDS", 60)
    monkeypatch.setattr(Session, "beat", lambda self, claim, why: told.append(why) or beat(self, claim, why))

    @kind
    def waits(run: Run) -> Iterator[Batch]:
        run.wait(0.5, "spring")
        yield Batch([1], {"at": 1}, succeeded=1)

    assert run(waits)["status"] == "completed"
    assert told == ["spring"]


def test_numbers_are_bound_as_one_literal_and_everything_else_as_it_is(run, make) -> None:
    bound: dict[str, Any] = {}
    job_id = make.job(params={"format": "csv"})

    @kind
    def binds(run: Run) -> Iterator[Batch]:
        bound.update(run.scope(ids=[1, 2], none=[], mixed=[1, "a"], flags=[True], text="{1}", pair=(3, 4)))
        yield from ()

    job = run(binds, job_id)
    assert bound == {
        "business_id": job["business_id"], "job_id": job_id, "format": "csv", "ids": "{1,2}", "none": "{}",
        "mixed": [1, "a"], "flags": [True], "text": "{1}", "pair": "{3,4}",
    }  # fmt: skip


@pytest.mark.parametrize("taken", [True, False])
def test_a_page_without_items_that_fails_on_its_data_fails_the_job_with_that(taken, run) -> None:
    """There is no row to pass over."""

    @kind
    def empty(run: Run) -> Iterator[Batch]:
        batch = run.take([], {"at": 1}) if taken else None
        run.begin().execute(text("SELECT 1 / 0"))
        yield batch or run.take([1], {"at": 1})

    with capture_logs():
        job = run(empty)
    assert (job["status"], job["last_error"], job["failed_count"]) == ("failed", "division by zero", 0)


def test_a_second_strike_while_a_crash_is_written_down_leaves_no_connection_behind(run, engine, monkeypatch) -> None:
    class Strike(BaseException):
        pass

    def strike(*_: Any) -> None:
        raise Strike

    @kind
    def work(run: Run) -> Iterator[Batch]:
        run.begin()
        strike()
        yield Batch([1], {"at": 1}, succeeded=1)

    monkeypatch.setattr(Loop, "fail", strike)
    taken = engine.pool.checkedout()
    with pytest.raises(Strike):
        run(work)
    assert engine.pool.checkedout() == taken
