"""A job that the world outside fails costs itself: its thread goes to those who wait, and one business gets a few."""

import time
from threading import Barrier, Event, Thread

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from actors.runtime.jobs.perform import perform
from actors.runtime.jobs.verdicts import Permanent, Transient
from service.local.processes import wait_until
from tests.actors.runtime.tiny import kind


@pytest.fixture
def failing():
    @kind
    def failing(run):
        raise Transient("the mail server is away")
        yield

    return failing


def due(sql, job_id: int) -> None:
    sql("UPDATE background_jobs SET wait_until = now() - interval '1 s' WHERE id = :id", id=job_id)


def test_its_thread_goes_to_a_job_that_waits_and_it_comes_back_later(failing, run, make, events, monkeypatch) -> None:
    monkeypatch.setattr("actors.runtime.jobs.backoff.backoff_seconds", lambda failures: 60)
    make.job()  # waits
    began = time.monotonic()
    with capture_logs() as lines:
        job = run(failing)
    assert time.monotonic() - began < 45  # not the 60 s of its backoff
    assert [line["event"] for line in lines] == ["job.picked", "job.requeued"]  # it does not look for what it gave back
    assert (job["status"], job["waiting_for"], job["failures"]) == ("queued", "the mail server is away", 1)
    assert job["wait_until"] is not None
    assert events(job["id"])[-1]["event"] == "snoozed"


def test_ten_failures_in_a_row_are_ten_however_often_it_gave_way(failing, run, make, sql) -> None:
    make.job()
    job = run(failing)
    for number in range(2, 10):
        due(sql, job["id"])
        job = run(failing, job["id"])
        assert (job["status"], job["failures"]) == ("queued", number)
    due(sql, job["id"])
    job = run(failing, job["id"])
    assert (job["status"], job["failures"]) == ("failed", 0)
    assert job["last_error"] == "10 failures in a row, the last: the mail server is away"


def test_progress_forgets_its_failures(run, make, sql) -> None:
    @kind
    def works_once(run):
        at = run.cursor.get("at", 0)
        if at == 0 and not seen:
            seen.append(1)
            raise Transient("away")
        yield run.take([at + 1], {"at": at + 1})
        raise Transient("away again")

    seen: list[int] = []
    make.job()
    job = run(works_once)
    assert job["failures"] == 1
    due(sql, job["id"])
    assert run(works_once, job["id"])["failures"] == 1  # of the second kind, not two


def test_a_request_meanwhile_is_obeyed(failing, run, make, sql) -> None:
    make.job()
    job_id = make.job()

    @kind
    def asked(run):
        sql("SELECT pause_job(:id, 'dana')", id=job_id)
        raise Transient("away")
        yield

    job = run(asked, job_id)
    assert (job["status"], job["failures"], job["wait_until"]) == ("paused", 0, None)


def test_a_resume_forgets_its_failures_too(failing, run, make, sql) -> None:
    make.job()
    job = run(failing)
    for verb in ("pause", "resume"):
        sql(f"SELECT {verb}_job(:id, 'dana')", id=job["id"])
    assert sql("SELECT failures FROM background_jobs WHERE id = :id", id=job["id"]) == [{"failures": 0}]


def test_an_error_of_another_sort_does_not_speak_of_a_failure_that_it_never_met(run, make, sql) -> None:
    @kind
    def fails_twice(run):
        if not seen:
            seen.append(1)
            raise Transient("away")
        raise Permanent("closed for good", "closed")
        yield

    seen: list[int] = []
    make.job()
    job = run(fails_twice)
    due(sql, job["id"])
    job = run(fails_twice, job["id"])
    assert (job["status"], job["last_error"]) == ("failed", "closed for good")


def test_with_nobody_waiting_it_keeps_its_thread(run, place) -> None:
    @kind
    def fails_once(run):
        if not seen:
            seen.append(1)
            raise Transient("away")
        return
        yield

    seen: list[int] = []
    assert run(fails_once)["status"] == "completed"


def test_one_job_too_many_of_a_business_waits_and_holds_nobody_up(run, make, place, sql, job_row) -> None:
    release, inside = Event(), Event()

    def holds(run):
        inside.set()
        release.wait(100)
        return
        yield

    limited = kind(holds, running_per_business=1)
    ours, theirs = make.business(), make.business()
    first = Thread(target=perform, args=(make.job(ours), limited, place))
    first.start()
    assert inside.wait(30)
    second = run(limited, make.job(ours, key="2"))
    assert (second["status"], second["attempt"]) == ("queued", 0)
    assert second["waiting_for"] == "this business runs as many jobs of this kind as it may at once (1)"
    assert sql("SELECT queue_name FROM dramatiq.queue WHERE message_id = :m", m=second["message_id"]) == [
        {"queue_name": "maintenance.DQ"}
    ]
    other = Thread(target=perform, args=(make.job(theirs), limited, place))
    other.start()
    wait_until(
        lambda: sql("SELECT FROM background_jobs WHERE business_id = :b AND status = 'running'", b=theirs), 30, "it"
    )
    release.set()
    first.join()
    other.join()
    due(sql, second["id"])
    assert run(limited, second["id"])["status"] == "completed"


def test_the_place_of_one_that_leaves_goes_to_the_one_that_waited_for_it(run, make, place, sql) -> None:
    limited, ours = kind(lambda run: iter(()), running_per_business=1), make.business()
    running = make.job(ours, status="running", worker_id=place.worker_id())
    third = run(limited, make.job(ours, key="3"))
    assert third["waiting_for"]
    sql("SELECT leave_running(:id, NULL, 'queued', 'requeued', 'worker:1', 'others wait')", id=running)
    assert run(limited, running)["status"] == "queued"  # it was there first, and has had its turn
    due(sql, third["id"])
    assert run(limited, third["id"])["status"] == "completed"
    due(sql, running)
    assert run(limited, running)["status"] == "completed"


UNTIL = "extract(epoch FROM wait_until - clock_timestamp())::float8"


def test_of_claims_at_the_same_moment_no_more_pass_than_may(make, engine, sql) -> None:
    business, claim = make.business(), text("SELECT id FROM claim_job(:id, 1, most => 2)")
    jobs = [make.job(business, key=str(number)) for number in range(6)]
    at_once = Barrier(len(jobs))

    def claims(job_id: int) -> None:
        with engine.begin() as session:
            session.execute(text("SELECT 1"))
            at_once.wait(30)
            session.execute(claim, {"id": job_id})

    threads = [Thread(target=claims, args=(job_id,)) for job_id in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sql("SELECT count(*) AS n FROM background_jobs WHERE status = 'running'") == [{"n": 2}]
    assert sql("SELECT count(*) AS n FROM background_jobs WHERE waiting_for LIKE 'this business%'") == [{"n": 4}]


def test_a_claim_of_one_business_waits_for_none_of_another(make, engine) -> None:
    claim = text("SELECT id FROM claim_job(:id, 1, most => 2)")
    ours, theirs = make.job(), make.job()
    with engine.begin() as first, engine.begin() as second:
        first.execute(claim, {"id": ours})
        second.execute(text("SET LOCAL lock_timeout = '1s'"))
        assert second.execute(claim, {"id": theirs}).scalar() == theirs


def test_the_more_wait_before_a_job_the_later_it_looks_again(make, place, sql) -> None:
    business = make.business()
    for number in range(2):
        make.job(business, status="running", key=f"runs {number}", worker_id=place.worker_id())
    waits = []
    for number in range(30):
        job_id = make.job(business, key=str(number))
        assert sql("SELECT id FROM claim_job(:id, 1, most => 2)", id=job_id) == []
        waits.append(sql(f"SELECT {UNTIL} AS s FROM background_jobs WHERE id = :id", id=job_id)[0]["s"])
    assert waits == pytest.approx([min(5 * (1 + number // 2), 60) for number in range(30)], abs=2)


def test_one_that_waits_for_something_else_holds_no_place(run, make, sql) -> None:
    limited, ours = kind(lambda run: iter(()), running_per_business=1), make.business()
    away = make.job(ours)
    sql(
        "UPDATE background_jobs SET waiting_for = 'the mail server is away', wait_until = now() + interval '1 hour' "
        "WHERE id = :id",
        id=away,
    )
    assert run(limited, make.job(ours, key="2"))["status"] == "completed"


def test_a_call_that_takes_too_long_gives_its_thread_away_too(run, make) -> None:
    @kind
    def hangs(run):
        raise TimeoutError("the call took longer than 15 s")
        yield

    make.job()
    job = run(hangs)
    assert (job["status"], job["failures"]) == ("queued", 1)


def test_without_such_a_limit_a_business_may_run_any_number(make, run, place, sql) -> None:
    business = make.business()
    for number in range(5):
        make.job(business, status="running", key=str(number), worker_id=place.worker_id())
    assert run(kind(lambda run: iter(())), make.job(business, key="x"))["status"] == "completed"


def test_the_more_often_the_world_fails_the_longer_the_thread_is_with_others(failing, run, make) -> None:
    make.job()
    for failures, waits in ((0, 2), (2, 8), (7, 30)):
        job = run(failing, make.job(failures=failures))
        assert job["failures"] == failures + 1
        assert waits - 0.5 < (job["wait_until"] - job["updated_at"]).total_seconds() < waits + 5
