"""The kind that deletes receipts, run by the real loop on real rows."""

import math

import pytest

from actors.delete_receipts import DeleteReceipts, delete_receipts, prepare
from actors.runtime.jobs.kinds import Start
from actors.runtime.jobs.perform import perform
from actors.runtime.outbox import purge_all_due
from service.local.processes import wait_until


@pytest.fixture
def started(make, engine, settings):
    """A delete job of the business with the params of a start; returns its id."""

    def start(business_id: int) -> int:
        with engine.begin() as connection:
            params = prepare(Start(connection, business_id, settings), DeleteReceipts())
        return make.job(business_id, params=params.model_dump())

    return start


@pytest.fixture
def delete(started, place, job_row):
    """Runs a delete job for the business to its end; returns the job."""

    def run(business_id: int) -> dict:
        job_id = started(business_id)
        perform(job_id, delete_receipts, place)
        return job_row(job_id)

    return run


def alive(sql, business_id: int) -> int:
    return sql("SELECT count(*) AS n FROM receipts WHERE business_id = :b AND NOT is_deleted", b=business_id)[0]["n"]


def test_all_receipts_of_the_business_go_and_none_of_another(make, delete, sql) -> None:
    mine, other = make.business(), make.business()
    for _ in range(3):  # so that their ids lie between each other
        make.receipts(mine, 41)
        make.receipts(other, 41)
    job = delete(mine)
    assert (job["status"], job["total"], job["processed"], job["succeeded"]) == ("completed", 123, 123, 123)
    assert (alive(sql, mine), alive(sql, other)) == (0, 123)


def test_deletion_is_soft_and_says_when(make, delete, sql) -> None:
    business_id = make.business()
    make.receipts(business_id, 5)
    delete(business_id)
    (row,) = sql("SELECT count(*) AS n, bool_and(is_deleted AND deleted_at IS NOT NULL) AS soft FROM receipts")
    assert row == {"n": 5, "soft": True}


def test_receipts_that_arrive_after_the_start_stay(make, started, place, sql, job_row) -> None:
    business_id = make.business()
    make.receipts(business_id, 10)
    job_id = started(business_id)
    late = make.receipts(business_id, 3)
    perform(job_id, delete_receipts, place)
    assert job_row(job_id)["processed"] == 10
    assert [row["id"] for row in sql("SELECT id FROM receipts WHERE NOT is_deleted ORDER BY id")] == late


def test_a_business_without_receipts_is_done_at_once(make, delete) -> None:
    job = delete(make.business())
    assert (job["status"], job["total"], job["processed"], job["cursor"]) == ("completed", 0, 0, None)


def test_attachments_are_marked_in_the_batch_and_their_objects_go_by_the_outbox(
    make, delete, sql, engine, bucket, tmp_path
) -> None:
    business_id, other = make.business(), make.business()
    make.attachments(make.receipts(business_id, 60), tmp_path)
    kept = make.attachments(make.receipts(other, 1), tmp_path)
    job = delete(business_id)
    marked = sql("SELECT count(*) AS n, min(purge_job_id) AS job FROM attachments WHERE purge_requested_at IS NOT NULL")
    assert marked == [{"n": 60, "job": job["id"]}]
    purge_all_due(engine, bucket)
    assert bucket.keys() == kept


def test_one_receipt_of_a_thousand_that_cannot_be_deleted_is_named_and_the_rest_goes(make, delete, sql, events) -> None:
    business_id = make.business()
    stubborn = make.receipts(business_id, 1000)[617]
    sql(f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'receipt % is under audit', OLD.id; END $$;
        CREATE TRIGGER audit BEFORE UPDATE ON receipts FOR EACH ROW WHEN (OLD.id = {stubborn}) EXECUTE FUNCTION refuse()
    """)
    job = delete(business_id)
    assert (job["status"], job["processed"], job["succeeded"], job["failed_count"]) == ("completed", 1000, 999, 1)
    assert job["last_error"] == f"receipt {stubborn} is under audit"
    assert [row["id"] for row in sql("SELECT id FROM receipts WHERE NOT is_deleted")] == [stubborn]
    (failed,) = [event for event in events(job["id"]) if event["event"] == "row_failed"]
    assert failed["detail"] == {"id": stubborn}


def test_a_checkpoint_is_a_hot_update(make, delete, sql) -> None:
    """Heartbeats and checkpoints touch no index: hundreds of batches do not bloat the table of jobs."""
    business_id = make.business()
    make.receipts(business_id, 10_000)
    delete(business_id)
    counted: list[dict[str, int]] = []

    def all_are_counted() -> bool:
        """Each session of the pool tells what it did when it is asked to, one after another."""
        sql("SELECT pg_stat_force_next_flush()")
        counted[:] = sql("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'background_jobs'")
        return bool(counted[0]["n_tup_upd"] >= 202)

    wait_until(all_are_counted, 30, "the statistics")
    (table,) = counted
    # The message sent, the claim and the end are not. A transaction that is open meanwhile, in any database of the
    # server, keeps old versions of the row, and a page that is full of them costs one more when it is open all the
    # time (other tests have such). An index on any column that a checkpoint writes would make it all of them.
    (row,) = sql("SELECT pg_column_size(j) + 32 AS size FROM background_jobs j")
    assert table["n_tup_upd"] - table["n_tup_hot_upd"] <= 3 + math.ceil(table["n_tup_upd"] * row["size"] / 8192)
