"""The kind that undoes a delete job."""

import pytest

from actors.delete_receipts import delete_receipts
from actors.restore_receipts import restore_receipts
from actors.runtime.jobs.kinds import MissingError, RefusedError
from actors.runtime.jobs.testing import run_kind
from actors.runtime.outbox import purge_all_due


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"UNDO_DAYS": 7})


@pytest.fixture
def delete(engine, settings):
    return lambda business_id: run_kind(delete_receipts, engine, settings, business_id)


@pytest.fixture
def restore(engine, settings):
    def run(business_id: int, delete_job_id: int) -> dict:
        return run_kind(restore_receipts, engine, settings, business_id, {"delete_job_id": delete_job_id})

    return run


def alive(sql, business_id: int) -> list[int]:
    rows = sql("SELECT id FROM receipts WHERE business_id = :b AND NOT is_deleted ORDER BY id", b=business_id)
    return [row["id"] for row in rows]


def test_exactly_what_one_delete_job_deleted_comes_back(make, delete, restore, sql) -> None:
    mine, other = make.business(), make.business()
    first = make.receipts(mine, 120)
    make.receipts(other, 5)
    one = delete(mine)
    second = make.receipts(mine, 7)
    two = delete(mine)
    delete(other)
    job = restore(mine, one["id"])
    assert (job["status"], job["total"], job["succeeded"]) == ("completed", 120, 120)
    assert (alive(sql, mine), alive(sql, other)) == (first, [])
    assert restore(mine, two["id"])["succeeded"] == 7
    assert alive(sql, mine) == first + second


def test_a_business_restores_two_at_once_however_many_it_has_deleted(settings) -> None:
    assert restore_receipts.setting(settings, "RUNNING_PER_BUSINESS") == 2


def test_its_files_come_back_too_and_are_not_purged_any_more(
    make, delete, restore, engine, bucket, sql, tmp_path
) -> None:
    business_id = make.business()
    keys = make.attachments(make.receipts(business_id, 3), tmp_path)
    job = delete(business_id)
    purge_all_due(engine, bucket)
    assert sorted(bucket.keys()) == sorted(keys), "purged before UNDO_DAYS were over"
    restore(business_id, job["id"])
    sql("UPDATE attachments SET purge_after = now() WHERE purge_after IS NOT NULL")
    purge_all_due(engine, bucket)
    assert sorted(bucket.keys()) == sorted(keys)
    again = delete(business_id)
    assert again["succeeded"] == 3
    assert sql("SELECT count(*) AS n FROM attachments WHERE purge_job_id = :id", id=again["id"]) == [{"n": 3}]


def test_a_receipt_whose_file_is_gone_stays_deleted_and_counts_as_failed(
    make, delete, restore, engine, bucket, sql, tmp_path
) -> None:
    business_id = make.business()
    ids = make.receipts(business_id, 3)
    make.attachments(ids, tmp_path)
    job = delete(business_id)
    sql("UPDATE attachments SET purge_after = now() WHERE receipt_id = :id", id=ids[1])
    purge_all_due(engine, bucket)
    restored = restore(business_id, job["id"])
    assert (restored["succeeded"], restored["failed_count"]) == (2, 1)
    assert alive(sql, business_id) == [ids[0], ids[2]]


def test_a_delete_job_of_another_business_is_not_found(make, delete, restore) -> None:
    other = make.business()
    make.receipts(other, 1)
    job = delete(other)
    with pytest.raises(MissingError, match=f"Delete job {job['id']} was not found"):
        restore(make.business(), job["id"])


@pytest.mark.parametrize("status", ["queued", "running", "paused"])
def test_a_delete_job_that_is_active_is_not_undone(status, make, restore) -> None:
    business_id = make.business()
    job_id = make.job(business_id, status=status)
    with pytest.raises(RefusedError, match="cancel it first") as refused:
        restore(business_id, job_id)
    assert refused.value.code == "delete_job_active"


@pytest.mark.parametrize(("days", "ago"), [(0, 0), (7, 8)])
def test_after_undo_days_there_is_nothing_to_restore(days, ago, make, delete, engine, settings, sql) -> None:
    business_id = make.business()
    make.receipts(business_id, 2)
    job = delete(business_id)
    sql("UPDATE receipts SET deleted_at = now() - make_interval(days => :ago)", ago=ago)
    settings = settings.model_copy(update={"UNDO_DAYS": days})
    with pytest.raises(RefusedError) as refused:
        run_kind(restore_receipts, engine, settings, business_id, {"delete_job_id": job["id"]})
    assert refused.value.code == "nothing_to_restore"


def test_without_undo_days_files_are_purged_at_once(make, engine, settings, bucket, tmp_path) -> None:
    business_id = make.business()
    make.attachments(make.receipts(business_id, 2), tmp_path)
    run_kind(delete_receipts, engine, settings.model_copy(update={"UNDO_DAYS": 0}), business_id)
    purge_all_due(engine, bucket)
    assert bucket.keys() == []
