"""The timeline does not lie: each event names who caused it, and why; and the log says the same."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

import sql as sql_package
from actors.runtime.jobs.run import Batch, Run
from tests.actors.runtime.tiny import kind, numbers

STOP = "SELECT leave_running(:id, NULL, 'queued', 'requeued', 'worker:1', 'the request was withdrawn')"


def created(world: "World") -> int:
    (row,) = world.sql("SELECT id FROM start_job(:b, 't', 'low', '{}', 1, 7, 'user:7')", b=world.make.business())
    return int(row["id"])


def claimed(world: "World") -> int:
    return world.does("SELECT claim_job(:id, 5)", status="queued")


def completed(world: "World") -> int:
    return world.does("SELECT leave_running(:id, NULL, 'completed', 'completed', 'worker:5')")


def requeued(world: "World") -> int:
    return world.does("SELECT leave_running(:id, NULL, 'queued', 'requeued', 'worker:5', 'others wait')")


def failed(world: "World") -> int:
    return world.does("SELECT leave_running(:id, NULL, 'failed', 'failed', 'worker:5', 'LookupError: x')")


def paused_while_queued(world: "World") -> int:
    return world.does("SELECT pause_job(:id, 'dana', 'month end')", status="queued")


def paused_while_running(world: "World") -> int:
    return world.does("SELECT pause_job(:id, 'dana', 'month end')", STOP)


def paused_without_a_reason(world: "World") -> int:
    return world.does("SELECT pause_job(:id, 'user:7')", STOP)


def paused_anew(world: "World") -> int:
    """The newest request counts, not one of an earlier segment."""
    return world.does(
        "SELECT pause_job(:id, 'eve', 'lunch')", STOP, "SELECT resume_job(:id, 'eve')", "SELECT claim_job(:id, 5)",
        "SELECT pause_job(:id, 'dana', 'month end')", STOP,
    )  # fmt: skip


def paused_by_the_sweep(world: "World") -> int:
    return world.does("SELECT pause_job(:id, 'dana', 'month end')", "SELECT recover_jobs()")


def paused_when_stale(world: "World") -> int:
    return world.does(
        "SELECT pause_job(:id, 'dana', 'month end')",
        "UPDATE background_jobs SET heartbeat_at = now() - interval '1 hour' WHERE id = :id",
        "SELECT fail_stale_jobs('delete_receipts', 120, 300)",
    )


def paused_by_a_reset(world: "World") -> int:
    return world.does("SELECT pause_job(:id, 'dana', 'month end')", "SELECT reset_job(:id, 'ops', 'stuck')")


def cancelled_while_queued(world: "World") -> int:
    return world.does("SELECT cancel_job(:id, 'dana', 'wrong shop')", status="queued")


def cancelled_while_running(world: "World") -> int:
    return world.does("SELECT cancel_job(:id, 'dana', 'wrong shop')", STOP)


def cancelled_after_a_pause_was_asked_for(world: "World") -> int:
    return world.does(
        "SELECT pause_job(:id, 'eve', 'lunch')", "SELECT cancel_job(:id, 'dana', 'wrong shop')", STOP
    )  # fmt: skip


def cancelled_at_the_end(world: "World") -> int:
    return world.does(
        "SELECT cancel_job(:id, 'dana', 'wrong shop')",
        "SELECT leave_running(:id, NULL, 'completed', 'completed', 'worker:5')",
    )


def pause_requested(world: "World") -> int:
    return world.does("SELECT pause_job(:id, 'dana', 'month end')")


def cancel_requested(world: "World") -> int:
    return world.does("SELECT cancel_job(:id, 'dana', 'wrong shop')")


def pause_withdrawn(world: "World") -> int:
    return world.does("SELECT pause_job(:id, 'eve', 'lunch')", "SELECT resume_job(:id, 'dana', 'back')")


def resumed(world: "World") -> int:
    return world.does("SELECT resume_job(:id, 'dana', 'mended')", status="failed")


def reset(world: "World") -> int:
    return world.does("SELECT reset_job(:id, 'ops', 'stuck')")


def recovered(world: "World") -> int:
    return world.does("SELECT recover_jobs()")


def stale(world: "World") -> int:
    return world.does(
        "UPDATE background_jobs SET heartbeat_at = now() - interval '1 hour' WHERE id = :id",
        "SELECT fail_stale_jobs('delete_receipts', 120, 300)",
    )


class World:
    def __init__(self, make: Any, sql: Any) -> None:
        self.make, self.sql = make, sql

    def does(self, *statements: str, status: str = "running") -> int:
        job_id: int = self.make.job(status=status, **({"worker_id": 5} if status == "running" else {}))
        for statement in statements:
            self.sql(statement, **({"id": job_id} if ":id" in statement else {}))
        return job_id


MONTH_END, WRONG_SHOP = ("paused", "dana", "month end"), ("cancelled", "dana", "wrong shop")
EVENTS: list[tuple[Callable[[World], int], tuple[str, str, str | None]]] = [
    (created, ("created", "user:7", None)),
    (claimed, ("claimed", "worker:5", None)),
    (completed, ("completed", "worker:5", None)),
    (requeued, ("requeued", "worker:5", "others wait")),
    (failed, ("failed", "worker:5", "LookupError: x")),
    (paused_while_queued, MONTH_END),
    (paused_while_running, MONTH_END),
    (paused_without_a_reason, ("paused", "user:7", None)),
    (paused_anew, MONTH_END),
    (paused_by_the_sweep, MONTH_END),
    (paused_when_stale, MONTH_END),
    (paused_by_a_reset, MONTH_END),
    (cancelled_while_queued, WRONG_SHOP),
    (cancelled_while_running, WRONG_SHOP),
    (cancelled_after_a_pause_was_asked_for, WRONG_SHOP),
    (cancelled_at_the_end, WRONG_SHOP),
    (pause_requested, ("pause_requested", "dana", "month end")),
    (cancel_requested, ("cancel_requested", "dana", "wrong shop")),
    (pause_withdrawn, ("pause_withdrawn", "dana", "back")),
    (resumed, ("resumed", "dana", "mended")),
    (reset, ("reset", "ops", "stuck")),
    (recovered, ("recovered", "sweep", "worker 5 died")),
    (stale, ("stale", "sweep", "Server restarted / job heartbeat lost: no heartbeat for 36xx s")),
]


@pytest.mark.parametrize(("story", "told"), EVENTS, ids=lambda value: getattr(value, "__name__", ""))
def test_each_event_names_who_and_why(story, told, make, sql, events) -> None:
    last = events(story(World(make, sql)))[-1]
    reason = last["reason"] and re.sub(r"\b36\d\d s", "36xx s", last["reason"])  # an hour, and what the test took
    assert (last["event"], last["actor"], reason) == told


def test_a_row_that_failed_is_told_by_its_worker_with_what_it_met(sql, run, events, worker_id) -> None:
    sql("ALTER TABLE done ADD CHECK (n <> 3)")
    job = run(kind(lambda run: numbers(run, 3)))
    (event,) = [event for event in events(job["id"]) if event["event"] == "row_failed"]
    assert event["actor"] == f"worker:{worker_id}"
    assert "done_n_check" in event["reason"]
    assert event["detail"] == {"id": 3}


def test_every_event_that_is_written_anywhere_is_told_above() -> None:
    written = set()
    for file in Path(sql_package.__file__).parent.glob("functions/**/*.sql"):
        body = file.read_text()
        written |= set(re.findall(r"log_job_event\(job, '(\w+)'", body))
        written |= set(re.findall(r"(?:move_job|ask_running)\(job, [^,]+, '(\w+)'", body))
        written |= set(re.findall(r"leave_running\(job\.id, [^,]+, '\w+', '(\w+)'", body))
    assert written >= {"created", "pause_withdrawn", "recovered", "reset"}
    assert written - {told[0] for _, told in EVENTS} == set()


@pytest.mark.parametrize(("verb", "event"), [("pause", "paused"), ("cancel", "cancelled")])
def test_the_timeline_and_the_log_of_a_job_that_was_stopped_say_who_stopped_it(verb, event, run, sql, events) -> None:
    @kind
    def asked(run: Run) -> Iterator[Batch]:
        yield from numbers(
            run, 1000, lambda _ids: sql(f"SELECT {verb}_job(:id, 'dana', 'month end')", id=run.job_id) and None
        )

    with capture_logs() as lines:
        job = run(asked)
    last = events(job["id"])[-1]
    assert (last["event"], last["actor"], last["reason"]) == (event, "dana", "month end")
    (line,) = [line for line in lines if line["event"] in ("job.paused", "job.finished")]
    assert (line["status"], line["actor"], line["why"]) == (event, "dana", "month end")


def test_an_error_that_a_request_overtakes_is_kept(make, sql, events) -> None:
    job_id = make.job(status="running", worker_id=5)
    sql("SELECT pause_job(:id, 'dana')", id=job_id)
    sql("SELECT leave_running(:id, NULL, 'failed', 'failed', 'worker:5', 'LookupError: x')", id=job_id)
    last = events(job_id)[-1]
    assert (last["event"], last["actor"], last["detail"]["error"]) == ("paused", "dana", "LookupError: x")


def test_the_token_that_asked_is_named_by_the_end_too(make, sql, events) -> None:
    job_id = make.job(status="running", worker_id=5)
    sql("SELECT set_config('longhaul.token', '31', true), cancel_job(:id, 'user:7')", id=job_id)
    sql("SELECT set_config('longhaul.token', '99', true), reset_job(:id, 'operator:1')", id=job_id)
    asked, ended = events(job_id)
    assert (asked["detail"]["token_id"], ended["detail"]["token_id"]) == (31, 31)
    assert (ended["event"], ended["actor"]) == ("cancelled", "user:7")
