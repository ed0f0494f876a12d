"""A job whose every row is refused stops, and says why; counted in the job's row, so nothing makes it forget."""

from collections.abc import Iterator

import pytest

from actors.runtime.jobs.run import Batch, Run
from tests.actors.runtime.tiny import kind, numbers


@pytest.fixture
def refuse(sql):
    def rows(which: str) -> None:
        sql(f"ALTER TABLE done ADD CONSTRAINT refused CHECK (NOT (n BETWEEN {which}))")

    return rows


@pytest.mark.parametrize("batch_size", [1, 50])
def test_after_a_hundred_refusals_in_a_row_the_job_fails_with_the_error(batch_size, run, done, refuse, events) -> None:
    refuse("1 AND 1000")
    job = run(kind(lambda run: numbers(run, 1000), batch_size=batch_size))
    assert (job["status"], job["processed"], job["failed_count"]) == ("failed", 100, 100)
    assert job["last_error"].startswith("100 rows in a row were refused, the last: new row for relation")
    assert len([event for event in events(job["id"]) if event["event"] == "row_failed"]) == 100
    last = events(job["id"])[-1]
    assert (last["event"], last["reason"], job["error_code"]) == ("failed", job["last_error"], "refused")


def test_resumed_it_goes_on_behind_them_and_counts_anew(run, done, refuse, sql) -> None:
    refuse("1 AND 150")
    job = run(kind(lambda run: numbers(run, 200)))
    assert (job["status"], job["refusals"]) == ("failed", 100)
    sql("SELECT resume_job(:id, 'dana')", id=job["id"])
    job = run(kind(lambda run: numbers(run, 200)), job["id"])
    assert (job["status"], job["processed"], job["failed_count"]) == ("completed", 200, 150)
    assert "refused" in job["last_error"]
    assert done() == list(range(151, 201))


def test_one_success_between_them_counts_anew(run, done, refuse, sql) -> None:
    refuse("1 AND 99")
    sql("ALTER TABLE done ADD CHECK (NOT (n BETWEEN 101 AND 199))")
    job = run(kind(lambda run: numbers(run, 200)))
    assert (job["status"], job["failed_count"], job["refusals"]) == ("completed", 198, 0)
    assert done() == [100, 200]


def test_neither_a_requeue_nor_a_crash_of_the_worker_resets_the_count(run, make, refuse, sql, job_row, place) -> None:
    """60 refusals, the worker stops; 60 more would be 120."""
    refuse("1 AND 1000")
    job_id = make.job()

    def stop_at(last: int) -> None:
        def work(run: Run) -> Iterator[Batch]:
            if run.cursor and run.cursor["last_id"] >= last:
                place.stopping.set()
            yield from numbers(run, 1000)

        place.stopping.clear()
        run(kind(work, batch_size=1), job_id)

    stop_at(30)
    assert (job_row(job_id)["status"], job_row(job_id)["refusals"]) == ("queued", 30)
    stop_at(60)
    sql("SELECT claim_job(:id, 99)", id=job_id)  # and one that dies at once
    sql("SELECT recover_jobs()")
    assert job_row(job_id)["refusals"] == 60
    place.stopping.clear()
    job = run(kind(lambda run: numbers(run, 1000)), job_id)
    assert (job["status"], job["processed"], job["refusals"]) == ("failed", 100, 100)


def test_a_worker_that_dies_between_the_hundredth_and_the_end_leaves_it_to_the_next(run, make) -> None:
    job_id = make.job(processed=100, failed_count=100, refusals=100, cursor={"last_id": 100}, last_error="bad row")
    job = run(kind(lambda run: numbers(run, 100)), job_id)
    assert (job["status"], job["processed"]) == ("failed", 100)
    assert job["last_error"] == "100 rows in a row were refused, the last: bad row"


def test_what_a_kind_counts_as_failed_itself_is_a_refusal_too(run) -> None:
    @kind
    def polite(run: Run) -> Iterator[Batch]:
        at = run.cursor["last_id"] if run.cursor else 0
        while at < 1000:
            batch = run.take(range(at + 1, at + 51), {"last_id": at + 50})
            batch.failed = 50
            yield batch
            at += 50

    job = run(polite)
    assert (job["status"], job["processed"]) == ("failed", 100)
    assert job["last_error"] == "100 rows in a row were refused"


def test_a_cancel_or_a_pause_beats_it(run, refuse, sql) -> None:
    refuse("1 AND 1000")

    def asked(run: Run) -> Iterator[Batch]:
        if run.cursor and run.cursor["last_id"] == 99:
            sql("SELECT cancel_job(:id, 'dana')", id=run.job_id)
        yield from numbers(run, 1000)

    job = run(kind(asked, batch_size=1))
    assert (job["status"], job["processed"]) == ("cancelled", 100)


@pytest.mark.parametrize(("most", "status"), [(0, "completed"), (1, "failed"), (150, "failed"), (151, "completed")])
def test_the_number_can_be_set_and_0_means_never(most, status, run, refuse, settings) -> None:
    refuse("1 AND 150")
    job = run(kind(lambda run: numbers(run, 200)), settings=settings.model_copy(update={"MAX_REFUSALS_IN_A_ROW": most}))
    assert job["status"] == status
