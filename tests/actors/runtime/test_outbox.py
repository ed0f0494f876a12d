"""The outbox of the bucket, on a real S3 server."""

from datetime import timedelta

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from actors.runtime.base.storage import NOT_TRIED, Bucket
from actors.runtime.outbox import FAILED, GIVE_BACK, LEASE, PURGED, Purged, purge, purge_all_due


@pytest.fixture
def asked(make, sql, tmp_path):
    """asked(n): so many attachments whose objects are to go; returns their keys."""

    def ask(number: int) -> list[str]:
        keys = make.attachments(make.receipts(make.business(), number), tmp_path)
        sql("UPDATE attachments SET purge_requested_at = now(), purge_after = now(), purge_job_id = 1")
        return keys

    return ask


@pytest.fixture
def states(sql):
    def count() -> dict[str, int]:
        return sql("""
            SELECT count(*) FILTER (WHERE purged_at IS NOT NULL) AS purged,
                   count(*) FILTER (WHERE purged_at IS NULL AND purge_error IS NOT NULL) AS failed,
                   count(*) FILTER (WHERE purged_at IS NULL AND purge_error IS NULL) AS pending
            FROM attachments""")[0]

    return count


def test_objects_that_are_to_go_are_deleted_and_the_others_stay(asked, make, engine, bucket, states, tmp_path) -> None:
    asked(3)
    kept = make.attachments(make.receipts(make.business(), 1), tmp_path)
    assert purge(engine, bucket) == Purged(deleted=3, failed=0)
    assert bucket.keys() == kept
    assert states() == {"purged": 3, "failed": 0, "pending": 1}


def test_with_nothing_due_the_bucket_is_not_called(make, engine, settings, tmp_path) -> None:
    make.attachments(make.receipts(make.business(), 1), tmp_path)

    class Uncalled(Bucket):
        def delete(self, keys):
            raise AssertionError(keys)

    assert purge(engine, Uncalled(settings)) == Purged(deleted=0, failed=0)


def test_an_object_that_is_gone_already_counts_as_deleted(asked, engine, bucket, states) -> None:
    bucket.delete(asked(2))
    assert purge(engine, bucket) == Purged(deleted=2, failed=0)
    assert states()["purged"] == 2


def test_what_a_killed_worker_had_leased_is_taken_up_when_the_lease_is_over(asked, engine, bucket, sql) -> None:
    asked(1)

    class KilledAfterTheLease(BaseException):
        pass

    class Dying(Bucket):
        def delete(self, keys):
            raise KilledAfterTheLease

    with pytest.raises(KilledAfterTheLease):
        purge(engine, Dying(bucket._settings))
    assert purge(engine, bucket) == Purged(0, 0)  # nobody else touches it while the lease holds
    (row,) = sql("SELECT purge_after - now() AS lease FROM attachments")
    assert 30 < row["lease"].total_seconds() <= 45
    sql("UPDATE attachments SET purge_after = now()")
    assert purge(engine, bucket) == Purged(deleted=1, failed=0)


def test_a_crash_between_the_bucket_and_its_mark_is_mended_by_the_next_round(asked, engine, bucket, sql) -> None:
    asked(1)

    class KilledAfterTheBucket(BaseException):
        pass

    class Dying(Bucket):
        def delete(self, keys):
            super().delete(keys)
            raise KilledAfterTheBucket

    with pytest.raises(KilledAfterTheBucket):
        purge(engine, Dying(bucket._settings))
    sql("UPDATE attachments SET purge_after = now()")
    assert purge(engine, bucket) == Purged(deleted=1, failed=0)


def test_a_bucket_that_is_away_is_counted_and_tried_again_later_and_later(asked, engine, bucket, settings, sql) -> None:
    asked(2)
    away = Bucket(settings.model_copy(update={"S3_ENDPOINT_URL": "http://127.0.0.1:1"}))
    for attempt in (1, 2, 3):
        (before,) = sql("SELECT now() AS at")
        assert purge(engine, away) == Purged(deleted=0, failed=2)
        for row in sql("SELECT purge_attempts, purge_error, purge_after, now() AS at FROM attachments"):
            assert row["purge_attempts"] == attempt
            assert "cannot be reached" in row["purge_error"]
            assert before["at"] <= row["purge_after"] - timedelta(seconds=2**attempt) <= row["at"]
        sql("UPDATE attachments SET purge_after = now()")
    assert purge(engine, bucket) == Purged(deleted=2, failed=0)
    assert sql("SELECT DISTINCT purge_error FROM attachments") == [{"purge_error": None}]


def test_an_object_that_fails_by_itself_does_not_hold_up_the_others(asked, engine, bucket, states) -> None:
    keys = asked(5)

    class OneRefused(Bucket):
        def delete(self, keys_now):
            refused = {keys[2]: "AccessDenied: retention"} if keys[2] in keys_now else {}
            return super().delete([key for key in keys_now if key not in refused]) | refused

    assert purge(engine, OneRefused(bucket._settings)) == Purged(deleted=4, failed=1)
    assert bucket.keys() == [keys[2]]
    assert states() == {"purged": 4, "failed": 1, "pending": 0}


def test_two_purges_at_once_never_take_the_same_object(asked, engine, bucket) -> None:
    asked(10)
    with engine.begin() as other:
        other.execute(text("SELECT FROM attachments ORDER BY purge_after, id LIMIT 4 FOR UPDATE"))
        with capture_logs() as lines:
            assert purge(engine, bucket) == Purged(deleted=6, failed=0)
        assert [line["event"] for line in lines] == ["storage.purged"]  # it has waited for none of them
    assert purge(engine, bucket) == Purged(deleted=4, failed=0)


def test_more_than_one_call_of_the_bucket_can_take_are_purged_in_rounds(asked, engine, bucket, sql, states) -> None:
    asked(1)
    sql("""INSERT INTO attachments (receipt_id, business_id, object_key, content_type, purge_requested_at, purge_after)
           SELECT receipt_id, business_id, 'never/' || n, 'application/pdf', now(), now()
           FROM attachments, generate_series(1, 2300) n""")
    purge_all_due(engine, bucket)
    assert states() == {"purged": 2301, "failed": 0, "pending": 0}


def test_what_is_due_the_longest_goes_first(asked, engine, bucket, sql) -> None:
    first, second, third = asked(3)
    sql("DROP INDEX idx_attachments_purge_due")  # in whose order they would come unasked
    due = "UPDATE attachments SET purge_after = now() - make_interval(mins => :minutes) WHERE object_key = :key"
    for key, minutes in ((first, 1), (second, 3), (third, 2)):
        sql(due, key=key, minutes=minutes)
    for left in ([first, third], [first], []):
        assert purge(engine, bucket, limit=1) == Purged(deleted=1, failed=0)
        assert bucket.keys() == left


def test_retry_purge_makes_all_that_waits_due_at_once_and_waits_for_nobody(asked, engine, bucket, sql) -> None:
    asked(5)
    sql("UPDATE attachments SET purge_after = now() + interval '1 hour', purge_attempts = 12, purge_error = '403'")
    sql("UPDATE attachments SET purge_after = now() WHERE id = (SELECT min(id) FROM attachments)")
    with engine.begin() as other:
        other.execute(text("SELECT FROM attachments ORDER BY id DESC LIMIT 1 FOR UPDATE"))
        assert sql("SELECT retry_purge() AS n") == [{"n": 3}]
    assert sql("SELECT retry_purge() AS n") == [{"n": 1}]
    assert purge(engine, bucket) == Purged(deleted=5, failed=0)
    assert sql("SELECT retry_purge() AS n") == [{"n": 0}]
    assert sql("SELECT error, failed, deleted FROM attachment_counts") == [{"error": None, "failed": 0, "deleted": 5}]


def test_settings_that_cannot_be_used_at_all_are_told_like_a_refusal(asked, engine, settings, sql) -> None:
    asked(2)
    unusable = Bucket(settings.model_copy(update={"S3_ENDPOINT_URL": "http://a b"}))
    assert purge(engine, unusable) == Purged(deleted=0, failed=2)
    (counts,) = sql("SELECT failed, error FROM attachment_counts")
    assert counts["failed"] == 2
    assert "see S3_ENDPOINT_URL" in counts["error"]


def test_an_attachment_that_cannot_be_written_costs_itself(make, sql, engine, bucket, tmp_path) -> None:
    business_id = make.business()
    make.attachments(make.receipts(business_id, 5), tmp_path)
    sql("UPDATE attachments SET purge_requested_at = now(), purge_after = now()")
    bad, *others = [row["id"] for row in sql("SELECT id FROM attachments ORDER BY id")]
    sql(f"""CREATE FUNCTION bad() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
            CREATE TRIGGER bad BEFORE UPDATE ON attachments FOR EACH ROW WHEN (old.id = {bad})
            EXECUTE FUNCTION bad()""")
    assert purge(engine, bucket) == Purged(deleted=4, failed=0)
    assert [row["id"] for row in sql("SELECT id FROM attachments WHERE purged_at IS NOT NULL ORDER BY id")] == others
    sql("DROP TRIGGER bad ON attachments")
    assert purge(engine, bucket) == Purged(deleted=1, failed=0)
    assert bucket.keys() == []


def test_retry_purge_leaves_what_can_still_be_restored_or_downloaded(asked, engine, bucket, sql) -> None:
    tried, gone, *kept = asked(4)
    sql("UPDATE attachments SET purge_after = now() + interval '7 days'")
    sql("UPDATE attachments SET purge_attempts = 3, purge_error = '403' WHERE object_key = :key", key=tried)
    sql("UPDATE attachments SET purge_attempts = 3, purged_at = now() WHERE object_key = :key", key=gone)
    assert sql("SELECT retry_purge() AS n") == [{"n": 1}]
    purge_all_due(engine, bucket)
    assert bucket.keys() == sorted([*kept, gone])


def test_a_bucket_that_refuses_for_long_is_tried_each_hour_and_its_error_kept_short(
    asked, engine, settings, sql
) -> None:
    asked(3)

    class Refusing(Bucket):
        def delete(self, keys):
            return dict.fromkeys(keys, "no" * 400)

    sql("UPDATE attachments SET purge_attempts = (ARRAY[9, 11, 5000])[1 + id % 3]")
    assert purge(engine, Refusing(settings)) == Purged(deleted=0, failed=3)
    rows = sql(
        "SELECT purge_attempts AS n, purge_after - now() AS wait, length(purge_error) AS length FROM attachments"
    )
    waits = {row["n"]: row["wait"].total_seconds() for row in rows}
    assert [round(waits[n], -2) for n in (10, 12, 5001)] == [1000, 3600, 3600]
    assert {row["length"] for row in rows} == {500}


def test_what_is_gone_but_for_its_versions_says_so_and_is_not_tried_again(asked, engine, settings, sql) -> None:
    asked(2)

    class Keeping(Bucket):
        def kept_versions(self):
            return "our keys may not"

    with capture_logs() as lines:
        assert purge(engine, Keeping(settings)) == Purged(deleted=2, failed=0)
        assert purge(engine, Keeping(settings)) == Purged(deleted=0, failed=0)
    assert sql("SELECT kept, error FROM attachment_counts") == [{"kept": 2, "error": None}]
    assert sql("SELECT DISTINCT purge_error AS error FROM attachments") == [{"error": "our keys may not"}]
    (line,) = [line for line in lines if line["event"] == "storage.purged"]
    assert (line["deleted"], line["failed"], line["error"]) == (2, 0, None)


def test_what_was_not_tried_comes_again_at_once_as_if_nothing_had_been(asked, engine, settings, sql) -> None:
    tried, not_tried = asked(2)

    class Slow(Bucket):
        def delete(self, keys):
            return {tried: "SlowDown", not_tried: NOT_TRIED}

    sql("UPDATE attachments SET purge_attempts = 3")
    with capture_logs() as lines:
        assert purge(engine, Slow(settings)) == Purged(deleted=0, failed=1)
    (line,) = [line for line in lines if line["event"] == "storage.purged"]
    assert (line["deleted"], line["failed"], line["error"]) == (0, 1, "SlowDown")
    due = "SELECT object_key, purge_attempts, purge_error FROM attachments WHERE purge_after <= now()"
    assert [tuple(row.values()) for row in sql(due)] == [(not_tried, 3, None)]


NOT_DUE = {
    "gone": "purged_at = now()",
    "tried again later": "purge_after = now() + interval '1 minute'",
}


@pytest.mark.parametrize("why", NOT_DUE)
def test_what_is_not_due_takes_no_place_in_a_round_and_is_leased_by_nobody(why, asked, engine, bucket, sql) -> None:
    key, due = asked(2)
    sql("UPDATE attachments SET purge_after = now() - interval '1 hour'")
    sql(f"UPDATE attachments SET {NOT_DUE[why]} WHERE object_key = :key", key=key)
    before = sql("SELECT * FROM attachments WHERE object_key = :key", key=key)
    ids = [row["id"] for row in sql("SELECT id FROM attachments")]
    with engine.connect() as session, session.begin() as looking:
        assert [row.object_key for row in session.execute(LEASE, {"ids": ids})] == [due]
        looking.rollback()
    assert purge(engine, bucket, limit=1) == Purged(deleted=1, failed=0)
    assert bucket.keys() == [key]
    assert sql("SELECT * FROM attachments WHERE object_key = :key", key=key) == before


@pytest.mark.parametrize("note", [PURGED, FAILED, GIVE_BACK], ids=["purged", "failed", "give back"])
def test_what_is_gone_by_now_is_noted_no_second_time_and_no_other_row_is(note, asked, engine, sql) -> None:
    for key in asked(2):
        sql("UPDATE attachments SET purge_attempts = 3, purge_error = 'kept' WHERE object_key = :key", key=key)
    (gone, other) = sql("UPDATE attachments SET purged_at = now() - interval '1 hour' RETURNING id")
    sql("UPDATE attachments SET purged_at = NULL WHERE id = :id", id=other["id"])
    before = sql("SELECT * FROM attachments ORDER BY id")
    with engine.begin() as session:
        session.execute(note, {"ids": [gone["id"]], "errors": ["503"]})
    assert sql("SELECT * FROM attachments ORDER BY id") == before


def test_what_was_never_tried_is_not_given_back(asked, engine, sql) -> None:
    asked(1)
    (before,) = sql("SELECT id, purge_attempts, purge_after FROM attachments")
    with engine.begin() as session:
        session.execute(GIVE_BACK, {"ids": [before["id"]], "errors": [None]})
    assert sql("SELECT id, purge_attempts, purge_after FROM attachments") == [before]
