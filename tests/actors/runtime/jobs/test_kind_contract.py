"""What a kind may do with its run, and what it is told when it does something else."""

import subprocess
import sys
import time
from threading import Event, Thread

import pytest
from pydantic import Field
from sqlalchemy import text

from actors.runtime.base.errors import ClaimLost
from actors.runtime.jobs.batch import Batch
from actors.runtime.jobs.kinds import job_kind
from actors.runtime.jobs.params import Params
from actors.runtime.jobs.perform import perform
from actors.runtime.jobs.verdicts import Permanent, Snooze, Transient
from tests.actors.runtime.tiny import kind, numbers

WRITE = text("INSERT INTO done VALUES (:n)")


def test_a_second_begin_is_an_error_of_the_kind_and_nothing_of_its_batch_is_kept(run, done) -> None:
    @kind
    def begins_twice(run):
        run.begin().execute(WRITE, {"n": 1})
        run.begin()
        yield run.take([1], {"at": 1})

    job = run(begins_twice)
    assert (job["status"], done()) == ("failed", [])
    assert "begin() was called in an open transaction" in job["last_error"]


@pytest.mark.parametrize("name", ["call", "result", "wait"])
def test_the_world_is_not_called_with_a_transaction_open(name, run) -> None:
    called = Event()

    @kind
    def calls_inside(run):
        submitted = run.submit(lambda: None)
        run.begin()
        if name == "call":
            run.call(called.set)
        elif name == "result":
            run.result(submitted)
        else:
            run.wait(1)
        yield run.take([1], {"at": 1})

    assert f"{name}() was called in an open transaction" in run(calls_inside)["last_error"]
    assert not called.is_set()


def test_without_begin_there_is_no_connection_to_write_with(run) -> None:
    @kind
    def never_begins(run):
        run.connection.execute(WRITE, {"n": 1})
        yield run.take([1], {"at": 1})

    assert "begin() opens one" in run(never_begins)["last_error"]


@pytest.mark.parametrize(
    ("yielded", "told"),
    [
        (None, "yielded NoneType, expected a Batch"),
        ({"at": 1}, "yielded dict, expected a Batch"),
        (Batch([1], {}), "does not move the cursor"),
        (Batch([1], [1]), "expected an object"),
    ],
)
def test_a_yield_that_is_no_progress_is_an_error_of_the_kind(yielded, told, run, done) -> None:
    @kind
    def yields_it(run):
        run.begin().execute(WRITE, {"n": 1})
        yield yielded

    job = run(yields_it)
    assert (job["status"], done()) == ("failed", [])
    assert told in job["last_error"]


@pytest.mark.parametrize(
    ("before", "cursor"),
    [
        ({"at": (1, 2)}, {"at": [1, 2]}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"b": 2, "a": 1}, {"a": 1, "b": 2}),
    ],
)
def test_a_yield_with_the_cursor_of_before_is_one_too_even_as_another_type(before, cursor, run) -> None:
    @kind
    def stands_still(run):
        yield Batch([1], before, succeeded=1)
        yield Batch([2], cursor, succeeded=1)

    job = run(stands_still)
    assert (job["status"], job["processed"]) == ("failed", 1)
    assert "does not move the cursor" in job["last_error"]


def test_an_empty_page_moves_the_cursor_and_counts_nothing(run) -> None:
    @kind
    def has_an_empty_page(run):
        yield run.take([], {"page": 1})
        batch = run.take(["a", "b"], {"page": run.cursor["page"] + 1})
        batch.succeeded = 2
        yield batch

    job = run(has_an_empty_page)
    assert (job["status"], job["processed"], job["cursor"]) == ("completed", 2, {"page": 2})


def test_items_may_have_ids_of_any_type_and_the_one_that_fails_is_named(run, events) -> None:
    @kind
    def letters(run):
        at = run.cursor.get("at", 0)
        while at < 4:
            ids = [f"<{n}@mail>" for n in range(at + 1, min(at + run.limit, 4) + 1)]
            at += len(ids)
            batch = run.take(ids, {"at": at})
            run.begin().execute(text("SELECT 1 / (1 - CAST(:bad AS int))"), {"bad": int("<3@mail>" in ids)})
            batch.succeeded = len(ids)
            yield batch

    job = run(letters)
    assert (job["status"], job["succeeded"], job["failed_count"]) == ("completed", 3, 1)
    (failed,) = [event for event in events(job["id"]) if event["event"] == "row_failed"]
    assert failed["detail"] == {"id": "<3@mail>"}


def test_what_a_kind_writes_after_its_last_batch_is_kept(run, done) -> None:
    @kind
    def writes_at_the_end(run):
        yield from numbers(run, 10)
        run.begin().execute(WRITE, {"n": 99})

    assert run(writes_at_the_end)["status"] == "completed"
    assert 99 in done()


def test_commit_keeps_what_was_claimed_before_the_act(run, done) -> None:
    """Claim, act, result: after a crash in the act, the claim is still there."""

    @kind
    def claims_and_dies(run):
        run.begin().execute(WRITE, {"n": 1})
        run.commit()
        raise SystemError("in the act")
        yield

    assert run(claims_and_dies)["status"] == "failed"
    assert done() == [1]


def test_a_lost_claim_commits_nothing(run, done, sql, job_row) -> None:
    seen = []

    @kind
    def loses_its_claim(run):
        run.begin().execute(WRITE, {"n": 1})
        sql("SELECT reset_job(:id, 'dana')", id=run.job_id)
        try:
            run.commit()
        except ClaimLost:
            seen.append(True)
            raise
        yield

    job = run(loses_its_claim)
    assert (job["status"], done(), seen) == ("failed", [], [True])


def test_batches_reads_ahead_in_few_queries_and_leaves_out_what_went_meanwhile(run, make, sql) -> None:
    business_id = make.business()
    ids = make.receipts(business_id, 100)
    query = text("SELECT id FROM receipts WHERE NOT is_deleted AND id > :last_id ORDER BY id LIMIT :limit")
    work = text("UPDATE receipts SET vendor = 'x' WHERE id = ANY(:ids) AND NOT is_deleted")

    @kind
    def renames(run):
        for batch in run.batches(query):
            if batch.ids[0] == ids[0]:
                # Behind the read-ahead: the id is in memory already, the row goes before its turn.
                gone = "UPDATE receipts SET is_deleted = true, deleted_at = now() WHERE id = :id"
                sql(gone, id=ids[60])
            batch.succeeded = run.connection.execute(work, run.scope(ids=batch.ids)).rowcount
            yield batch

    job = run(renames, make.job(business_id))
    assert (job["status"], job["processed"]) == ("completed", 99)
    assert sql("SELECT count(*) AS n FROM receipts WHERE vendor = 'x'") == [{"n": 99}]


def test_a_call_that_takes_too_long_is_given_up_and_tried_again(run, place) -> None:
    calls = []

    def slow() -> str:
        calls.append(1)
        if len(calls) == 1:
            Event().wait(5)
        return "answer"

    @kind
    def asks(run):
        assert run.call(slow, seconds=30 if calls else 0.3) == "answer"
        yield Batch([1], {"at": 1}, succeeded=1)

    job = run(asks)
    assert (job["status"], len(calls)) == ("completed", 2)


def test_a_call_goes_on_while_a_batch_is_stored_and_its_result_or_error_comes_after(run, place) -> None:
    stored, results = Event(), []

    def once_stored() -> str:
        assert stored.wait(30)
        return "answer"

    def fails() -> None:
        raise Permanent("no such account", "no_account")

    @kind
    def asks(run):
        call, failing = run.submit(once_stored), run.submit(fails)
        run.begin()
        yield Batch([1], {"at": 1}, succeeded=1)
        stored.set()
        results.append(run.result(call))
        run.result(failing)

    job = run(asks)
    assert (job["status"], job["processed"], job["error_code"]) == ("failed", 1, "no_account")
    assert results == ["answer"]


def test_a_call_that_hangs_does_not_keep_its_process_from_ending() -> None:
    program = "from threading import Event; from actors.runtime.base.call import Call; Call(Event().wait, 60, 'hangs')"
    assert subprocess.run([sys.executable, "-c", program], timeout=30, check=False).returncode == 0


@pytest.mark.parametrize(("verb", "status"), [("pause", "paused"), ("cancel", "cancelled")])
def test_a_request_ends_a_call_and_a_wait_early(verb, status, run, sql, place, engine) -> None:
    """The beats learn of it while the kind is at work outside."""

    @kind
    def waits_long(run):
        sql(f"SELECT {verb}_job(:id, 'dana')", id=run.job_id)
        place.beats._outside[run.job_id] = (run._claim, 0.0)  # as if it were out there for long
        Thread(target=place.beats.beat, args=(engine,)).start()
        run.call(Event().wait, 60, seconds=60)
        yield Batch([1], {"at": 1}, succeeded=1)

    began = time.monotonic()
    job = run(waits_long)
    assert (job["status"], job["processed"]) == (status, 0)
    assert time.monotonic() - began < 45


def test_a_pause_that_is_withdrawn_while_the_kind_cleans_up_leaves_nothing_undone(run, sql, place, engine) -> None:
    """Its generator has ended with the interruption; that must not be taken for the end of its work."""

    def hears_of(verb, run):
        sql(f"SELECT {verb}_job(:id, 'dana')", id=run.job_id)
        place.beats._outside[run.job_id] = (run._claim, 0.0)  # as if it were out there for long
        place.beats.beat(engine)

    @kind
    def logs_out(run):
        if not run.cursor:
            yield Batch([1], {"at": 1}, succeeded=1)
            hears_of("pause", run)
            try:
                run.wait(60)
            finally:
                hears_of("resume", run)
        yield Batch([2], {"at": 2}, succeeded=1)

    job = run(logs_out)
    assert (job["status"], job["processed"], job["attempt"]) == ("completed", 2, 1)


def test_a_stop_ends_a_wait_and_the_job_goes_back(run, place) -> None:
    @kind
    def waits_long(run):
        place.stopping.set()
        run.wait(60, "for spring")
        yield Batch([1], {"at": 1}, succeeded=1)

    assert run(waits_long)["status"] == "queued"


def test_a_wait_beats_and_says_what_for(run, job_row) -> None:
    seen = []

    @kind
    def waits(run):
        run.wait(0.3, "for the kettle")
        seen.append(job_row(run.job_id)["waiting_for"])
        yield Batch([1], {"at": 1}, succeeded=1)

    job = run(waits)
    assert seen == ["for the kettle"]
    assert (job["status"], job["waiting_for"]) == ("completed", None)


def test_a_job_at_work_outside_is_beaten_for(run, engine, place, job_row, sql) -> None:
    seen = []

    @kind
    def works_outside(run):
        sql("UPDATE background_jobs SET heartbeat_at = now() - interval '60 s', updated_at = now() - interval '60 s'")
        before = job_row(run.job_id)
        place.beats._outside[run.job_id] = (run._claim, 0.0)
        place.beats.beat(engine)
        after = job_row(run.job_id)
        seen.append(after["heartbeat_at"] > before["heartbeat_at"])
        seen.append(after["updated_at"] == before["updated_at"])  # a sign of life, not of progress
        yield Batch([1], {"at": 1}, succeeded=1)

    assert run(works_outside)["status"] == "completed"
    assert seen == [True, True]
    assert place.beats._outside == {}


def test_a_snooze_puts_the_job_back_until_its_time_and_says_why(run, job_row, sql, events) -> None:
    @kind
    def snoozes_once(run):
        if not run.cursor:
            yield Batch([1], {"at": 1}, succeeded=1)
            run.snooze(40, "the mailbox asked to wait 40 s")
        yield Batch([2], {"at": 2}, succeeded=1)

    job = run(snoozes_once)
    assert (job["status"], job["waiting_for"]) == ("queued", "the mailbox asked to wait 40 s")
    assert 35 < (job["wait_until"] - job["updated_at"]).total_seconds() <= 41
    (message,) = sql("SELECT queue_name, eta FROM dramatiq.queue WHERE message_id = :id", id=job["message_id"])
    assert message["queue_name"] == "maintenance.DQ"
    assert float(message["eta"]) / 1000 >= job["wait_until"].timestamp()
    assert events(job["id"])[-1]["event"] == "snoozed"

    assert run(snoozes_once, job["id"])["status"] == "queued", "claimed before its time"
    sql("UPDATE background_jobs SET wait_until = now() WHERE id = :id", id=job["id"])
    job = run(snoozes_once, job["id"])
    assert (job["status"], job["processed"], job["wait_until"], job["waiting_for"]) == ("completed", 2, None, None)


@pytest.mark.parametrize(("verb", "status"), [("pause", "paused"), ("cancel", "cancelled")])
def test_a_pause_and_a_cancel_work_on_a_snoozed_job_at_once(verb, status, run, sql, job_row) -> None:
    @kind
    def snoozes(run):
        run.snooze(4000, "quota")
        yield

    job = run(snoozes)
    sql(f"SELECT {verb}_job(:id, 'dana')", id=job["id"])
    row = job_row(job["id"])
    assert (row["status"], row["wait_until"], row["waiting_for"]) == (status, None, None)
    assert sql("SELECT FROM dramatiq.queue WHERE message_id = :id", id=row["message_id"]) == []


def test_a_resume_ends_a_snooze_and_sends_the_job_at_once(run, sql, job_row, events) -> None:
    @kind
    def snoozes(run):
        run.snooze(4000, "quota")
        yield

    job = run(snoozes)
    sql("SELECT resume_job(:id, 'dana')", id=job["id"])
    row = job_row(job["id"])
    assert (row["status"], row["wait_until"]) == ("queued", None)
    messages = sql("SELECT queue_name, eta FROM dramatiq.queue WHERE state = 'queued'")
    assert messages == [{"queue_name": "maintenance", "eta": None}]
    sql("SELECT resume_job(:id, 'dana')", id=job["id"])  # again: nothing changes
    assert [event["event"] for event in events(job["id"])].count("resumed") == 1


def test_a_snoozed_job_is_not_sent_a_second_message_by_the_sweep(run, sql, job_row) -> None:
    @kind
    def snoozes(run):
        run.snooze(4000, "quota")
        yield

    job = run(snoozes)
    sql("SELECT wake_queued_jobs()")
    assert job_row(job["id"])["message_id"] == job["message_id"]


@pytest.mark.parametrize(
    ("asked", "waited", "waits"), [(1, "0 s", 1), (1, "200 s", 20), (1, "5 hours", 60), (90, "5 hours", 90)]
)
def test_who_asks_for_a_second_again_and_again_is_asked_ever_more_rarely(asked, waited, waits, run, make, sql) -> None:
    @kind
    def snoozes(run):
        run.snooze(asked, "quota")
        yield

    job_id = make.job()
    sql("UPDATE background_jobs SET waits_since = now() - CAST(:waited AS interval)", waited=waited)
    job = run(snoozes, job_id)
    assert waits - 0.5 < (job["wait_until"] - job["updated_at"]).total_seconds() < waits + 5


def test_a_day_of_snoozes_without_progress_fails_the_job(run, sql) -> None:
    @kind
    def snoozes(run):
        run.snooze(40, "quota")
        yield

    job = run(snoozes)
    sql("""UPDATE background_jobs SET wait_until = NULL, waits_since = now() - interval '25 hours'""")
    job = run(snoozes, job["id"])
    assert (job["status"], job["error_code"]) == ("failed", "waited_in_vain")
    assert job["last_error"] == "waited for 24 hours without progress, the last time because: quota"


def test_progress_starts_the_count_of_that_day_anew(run, sql, job_row) -> None:
    @kind
    def goes_on_and_snoozes(run):
        at = run.cursor.get("at", 0) + 1
        yield Batch([at], {"at": at}, succeeded=1)
        run.snooze(40, "quota")

    job = run(goes_on_and_snoozes)
    sql("""UPDATE background_jobs SET wait_until = NULL, waits_since = now() - interval '25 hours'""")
    assert run(goes_on_and_snoozes, job["id"])["status"] == "queued"


def test_the_kind_is_asked_first_what_an_error_means(run, events) -> None:
    met = []

    def classify(error: Exception):
        met.append(str(error))
        return {
            "soon": Transient("the provider is busy"),
            "later": Snooze(60, "the quota is used up"),
            "never": Permanent("The provider has taken the access away", "needs_reconnect"),
        }.get(str(error))

    def fails(word: str):
        @job_kind(queue="low", classify=classify, params=kind(lambda run: run).params)
        def failing(run):
            if word == "soon" and len(met) > 1:
                return
            raise LookupError(word)
            yield

        return failing

    assert run(fails("later"))["waiting_for"] == "the quota is used up"
    job = run(fails("never"))
    assert (job["status"], job["last_error"], job["error_code"]) == (
        "failed",
        "The provider has taken the access away",
        "needs_reconnect",
    )
    job = run(fails("other"))
    assert (job["status"], job["last_error"], job["error_code"]) == ("failed", "LookupError: other", None)
    met.clear()
    assert run(fails("soon"))["status"] == "completed"


class Wanted(Params):
    colour: str = Field(max_length=5)


def test_params_that_do_not_validate_any_more_fail_the_job_with_a_sentence(run, make) -> None:
    @job_kind(queue="low", params=Wanted)
    def paints(run):
        yield run.take([], {"at": run.params.colour})

    job = run(paints, make.job(params={"colour": "red", "size": 3}))
    assert (job["status"], job["error_code"]) == ("failed", "invalid_params")
    assert job["last_error"] == "params: Unknown field 'size'"
    assert run(paints, make.job(params={"colour": "red"}))["cursor"] == {"at": "red"}


def test_a_generator_is_closed_before_its_connection_is_given_back(run, sql, engine) -> None:
    seen = []

    @kind
    def cleans_up(run):
        try:
            yield Batch([1], {"at": 1}, succeeded=1)
            sql("SELECT pause_job(:id, 'dana')", id=run.job_id)
            yield Batch([2], {"at": 2}, succeeded=1)
            yield Batch([3], {"at": 3}, succeeded=1)
        finally:
            seen.append(run._session._connection is not None)

    assert run(cleans_up)["status"] == "paused"
    assert seen == [True]


def test_stats_of_a_kind_are_written_with_the_checkpoint(run, job_row) -> None:
    @kind
    def counts(run):
        for at in (1, 2):
            run.stats["found"] = run.stats.get("found", 0) + at
            yield Batch([at], {"at": at}, succeeded=1)
            assert job_row(run.job_id)["stats"]["found"] == run.stats["found"]

    assert run(counts)["stats"] == {"found": 3}


def test_a_kind_that_lists_first_says_the_total_afterwards(run) -> None:
    @kind
    def lists_first(run):
        batch = run.take([1, 2], {"at": 2})
        batch.succeeded, batch.failed = 1, 1
        yield batch
        run.begin()
        run.set_total(3)
        yield run.take([], {"at": "listed"})

    job = run(lists_first)
    assert (job["total"], job["processed"]) == (5, 2)


def test_a_job_gives_way_to_a_job_of_another_kind_that_its_worker_could_take(run, make, sql, settings) -> None:
    """Of one that waits for its time, or in a queue that this worker does not serve, it takes no notice."""
    here = {"kinds": ("delete_receipts",), "settings": settings.model_copy(update={"WORKER_QUEUES": ("high",)})}
    slow = kind(
        lambda run: numbers(run, 100, lambda ids: Event().wait(1.1) if ids[0] == 1 else None), give_way_seconds=1
    )

    def status(**columns) -> str:
        make.job(**columns)
        sql("TRUNCATE done")
        return run(slow, **here)["status"]

    assert status(queue="low") == "completed"
    assert status(queue="high", wait_until="2999-01-01") == "completed"
    assert status(queue="high") == "queued"


def test_a_business_has_one_active_job_for_each_key(make) -> None:
    business_id = make.business()
    make.job(business_id, key="a")
    make.job(business_id, key="b")
    with pytest.raises(Exception, match="unique"):
        make.job(business_id, key="a")


def test_a_message_that_names_a_job_of_another_kind_claims_nothing(make, place, job_row) -> None:
    """As somebody else may have put it into the queue."""
    job_id = make.job(job_type="restore_receipts", actor="restore_receipts")
    deletes = kind(lambda run: numbers(run, 10))
    perform(job_id, deletes, place, types=("delete_receipts",))
    assert (job_row(job_id)["status"], job_row(job_id)["attempt"]) == ("queued", 0)
