"""One job, the list, the timeline, and the verbs."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from sql.states import VERBS


def test_a_job_is_shown_flat_with_all_that_the_contract_names(api, make, worker_id) -> None:
    business_id = make.business()
    caller = api(business_id, "member")  # first: its making takes a second
    job_id = make.job(
        business_id,
        status="running",
        worker_id=worker_id,
        total=582,
        processed=150,
        succeeded=149,
        failed_count=1,
        last_error="receipt 5 is under audit",
        waiting_for="the connection to Postgres was lost",
        requested_by_user_id=7,
    )
    answer = caller.get(f"/api/jobs/{job_id}").json
    shown = {
        name: answer.pop(name) for name in ("created_at", "started_at", "updated_at", "heartbeat_at") if name in answer
    }
    assert all(value.endswith("+00:00") for value in shown.values())
    assert len(shown) == 4
    assert answer.pop("seconds_since_heartbeat") in range(10)
    assert answer == {
        "success": True,
        "job_id": job_id,
        "business_id": business_id,
        "job_type": "delete_receipts",
        "key": "",
        "status": "running",
        "requested": None,
        "total": 582,
        "processed": 150,
        "succeeded": 149,
        "failed_count": 1,
        "with_failures": False,
        "why": {
            "reason": "backing_off",
            "sentence": "It waits to try again: the connection to Postgres was lost",
        },
        "links": {"self": f"/api/jobs/{job_id}", "events": f"/api/jobs/{job_id}/events"},
        "percent": 25.8,
        "rate": None,
        "eta_seconds": None,
        "last_error": "receipt 5 is under audit",
        "error_code": None,
        "waiting_for": "the connection to Postgres was lost",
        "wait_until": None,
        "finished_at": None,
        "is_stale": False,
        "attempt": 1,
        "stats": {"attachments_deleted": 0, "attachments_failed": 0, "attachments_pending": 0},
        "notice": None,
        "requested_by_user_id": 7,
    }


@pytest.mark.parametrize(
    ("columns", "percent"),
    [
        ({"total": None, "processed": 3, "succeeded": 3}, 0.0),
        ({"total": 0}, 0.0),
        ({"total": 3, "processed": 1, "succeeded": 1}, 33.3),
        ({"total": 3, "processed": 4, "succeeded": 4}, 100.0),
        ({"total": 0, "status": "completed"}, 100.0),
        ({"total": 5, "processed": 2, "succeeded": 2, "status": "cancelled"}, 40.0),
    ],
)
def test_percent_is_honest_at_its_edges(columns, percent, api, make) -> None:
    business_id = make.business()
    job_id = make.job(business_id, **columns)
    assert api(business_id).get(f"/api/jobs/{job_id}").json["percent"] == percent


@pytest.mark.parametrize(
    ("columns", "again", "verbs"),
    [
        ({"status": "completed", "processed": 3, "succeeded": 2, "failed_count": 1}, True, []),
        ({"status": "completed", "processed": 3, "succeeded": 3}, False, []),
        ({"status": "failed", "processed": 3, "succeeded": 2, "failed_count": 1}, False, ["resume"]),
        ({"status": "cancelled", "processed": 3, "succeeded": 2, "failed_count": 1}, False, []),
        ({"status": "paused", "processed": 3, "succeeded": 2, "failed_count": 1}, False, ["cancel", "resume"]),
    ],
)
def test_a_job_that_is_completed_with_failures_says_so_and_where_to_try_again(columns, again, verbs, api, make) -> None:
    business_id = make.business()
    job_id = make.job(business_id, **columns)
    caller = api(business_id)
    for job in (caller.get(f"/api/jobs/{job_id}").json, caller.get("/api/jobs").json["jobs"][0]):
        assert job["with_failures"] is again
        here = {name: f"/api/jobs/{job_id}/{name}" for name in ("events", *verbs)}
        retry = {"retry": "/api/receipts/delete_all"} if again else {}
        assert job["links"] == {"self": f"/api/jobs/{job_id}"} | here | retry


def test_the_link_to_try_again_starts_a_new_job(api, make) -> None:
    business_id = make.business()
    job_id = make.job(business_id, status="completed", processed=1, failed_count=1)
    caller = api(business_id)
    link = caller.get(f"/api/jobs/{job_id}").json["links"]["retry"]
    assert caller.post(link, {"confirm": "DELETE"}).status_code == 202


def test_a_jobs_attachments_are_counted(api, make, sql, tmp_path) -> None:
    business_id = make.business()
    job_id = make.job(business_id)
    make.attachments(make.receipts(business_id, 6), tmp_path)
    sql("UPDATE attachments SET purge_requested_at = now(), purge_after = now(), purge_job_id = :j", j=job_id)
    sql("UPDATE attachments SET purged_at = now() WHERE id % 6 < 3")
    sql("UPDATE attachments SET purge_error = 'AccessDenied' WHERE id % 6 = 3")
    stats = api(business_id).get(f"/api/jobs/{job_id}").json["stats"]
    refused = {"attachments_error": "AccessDenied"}
    assert stats == refused | {"attachments_deleted": 3, "attachments_failed": 1, "attachments_pending": 2}
    sql("UPDATE attachments SET purge_error = 'versions stay' WHERE id % 6 = 0")
    stats = api(business_id).get(f"/api/jobs/{job_id}").json["stats"]
    assert (stats["attachments_deleted"], stats["attachments_with_versions_kept"]) == (3, 1)
    sql("UPDATE attachments SET purge_job_id = NULL WHERE id % 6 = 0")
    sql("DELETE FROM attachments WHERE id % 6 = 1")
    sql("""INSERT INTO attachments (receipt_id, business_id, object_key, content_type, purge_requested_at, purge_after,
                                    purge_job_id) SELECT min(id), :b, 'x', '', now(), now(), :j FROM receipts""",
        b=business_id, j=job_id)  # fmt: skip
    stats = api(business_id).get(f"/api/jobs/{job_id}").json["stats"]
    assert stats == refused | {"attachments_deleted": 1, "attachments_failed": 1, "attachments_pending": 3}


def test_while_attachments_are_left_the_buckets_error_is_told_without_its_address(api, make, sql) -> None:
    business_id = make.business()
    job_id, other = make.job(business_id), make.job()
    for number, job in ((4, job_id), (1, other)):
        make.sql(
            """INSERT INTO attachments
                   (receipt_id, business_id, object_key, content_type, purge_requested_at, purge_after, purge_job_id)
               SELECT id, business_id, id::text, '', now(), now(), :job FROM receipts WHERE id = ANY(:ids)""",
            ids=make.receipts(business_id, number), job=job,
        )  # fmt: skip
    caller = api(business_id)

    def error(statement: str, **values) -> object:
        sql(statement, job=job_id, **values)
        return caller.get(f"/api/jobs/{job_id}").json["stats"].get("attachments_error")

    mine = "UPDATE attachments SET {} WHERE purge_job_id = :job"
    said = "bucket 'receipts' at https://s3.example.com answered 500"
    assert error(mine.format("purge_attempts = 1")) is None
    assert error(mine.format("purge_error = :e"), e=said) == "the bucket answered 500"
    assert error(mine.format("purge_attempts = 2")) == "the bucket answered 500"
    assert error(mine.format("purge_error = 'AccessDenied'")) == "AccessDenied"
    one = " AND id = (SELECT min(id) FROM attachments WHERE purged_at IS NULL AND purge_job_id = :job)"
    assert error(mine.format("purged_at = now(), purge_error = NULL") + one) == "AccessDenied"
    assert error("DELETE FROM attachments WHERE purge_job_id = :job" + one) == "AccessDenied"
    assert error(mine.format("purged_at = now(), purge_error = NULL")) is None
    assert sql("SELECT error FROM attachment_counts WHERE job_id = :id", id=other) == [{"error": None}]


def test_the_buckets_error_is_told_as_long_as_any_file_is_left_even_if_not_tried_yet(api, make, sql) -> None:
    business_id = make.business()
    job_id = make.job(business_id)
    sql("""INSERT INTO attachments (receipt_id, business_id, object_key, content_type, purge_requested_at, purge_after,
                                    purge_job_id)
           SELECT id, business_id, id::text, '', now(), now(), :job FROM receipts WHERE id = ANY(:ids)""",
        ids=make.receipts(business_id, 2), job=job_id)  # fmt: skip
    first = " WHERE id = (SELECT min(id) FROM attachments)"
    sql("UPDATE attachments SET purge_error = 'SlowDown'" + first)
    sql("UPDATE attachments SET purged_at = now(), purge_error = NULL" + first)
    caller = api(business_id)
    stats = {"attachments_deleted": 1, "attachments_failed": 0, "attachments_pending": 1}
    assert caller.get(f"/api/jobs/{job_id}").json["stats"] == stats | {"attachments_error": "SlowDown"}
    sql("UPDATE attachments SET purged_at = now()")
    stats = {"attachments_deleted": 2, "attachments_failed": 0, "attachments_pending": 0}
    assert caller.get(f"/api/jobs/{job_id}").json["stats"] == stats


def test_a_lease_of_what_has_failed_before_does_not_touch_the_jobs_counts(make, sql) -> None:
    """Else all workers would wait for each other at that one row."""
    business_id = make.business()
    sql("""INSERT INTO attachments (receipt_id, business_id, object_key, content_type, purge_requested_at, purge_after,
                                    purge_job_id) VALUES (:r, :b, 'x', '', now(), now(), 1)""",
        r=make.receipts(business_id, 1)[0], b=business_id)  # fmt: skip
    sql("UPDATE attachments SET purge_error = 'AccessDenied'")
    before = sql("SELECT xmin::text FROM attachment_counts")
    sql("UPDATE attachments SET purge_attempts = 1, purge_after = now()")
    sql("UPDATE attachments SET purge_error = 'AccessDenied'")
    assert sql("SELECT xmin::text FROM attachment_counts") == before


@pytest.mark.parametrize("key", ["", "x" * 1025, "a\x01b", "a\nb", "/a", "a//b", "../a", "a/../b"])
def test_a_key_that_a_store_may_refuse_is_no_key_but_an_old_one_can_still_be_purged(key, make, sql) -> None:
    business_id = make.business()
    (receipt_id,) = make.receipts(business_id, 1)
    insert = f"""INSERT INTO attachments (receipt_id, business_id, object_key, content_type)
                 VALUES ({receipt_id}, {business_id}, :key, 'image/png')"""
    with pytest.raises(IntegrityError, match="attachments_object_key_form"):
        sql(insert, key=key)
    sql("ALTER TABLE attachments DROP CONSTRAINT attachments_object_key_form")
    sql(insert, key=key)
    sql("""ALTER TABLE attachments ADD CONSTRAINT attachments_object_key_form
           CHECK (purge_requested_at IS NOT NULL OR object_key = 'fine') NOT VALID""")
    sql("UPDATE attachments SET purge_requested_at = now(), purge_after = now()")
    sql("UPDATE attachments SET purge_attempts = 1, purge_error = 'no such key'")


def test_a_look_at_a_job_of_a_dead_worker_brings_it_back_to_the_queue(api, make, events) -> None:
    business_id = make.business()
    job_id = make.job(business_id, status="running", worker_id=99)
    assert api(business_id).get(f"/api/receipts/jobs/{job_id}").json["status"] == "queued"
    assert [event["event"] for event in events(job_id)] == ["recovered"]


@pytest.mark.parametrize(
    ("column", "seconds", "stale"),
    [("heartbeat_at", 125, True), ("heartbeat_at", 110, False), ("updated_at", 305, True), ("updated_at", 290, False)],
)
def test_a_stale_job_whose_row_is_held_is_told_as_stale_and_failed_once_let_go(
    column, seconds, stale, api, make, worker_id, engine
) -> None:
    business_id = make.business()
    silent_since = datetime.now(UTC) - timedelta(seconds=seconds)
    job_id = make.job(business_id, status="running", worker_id=worker_id, **{column: silent_since})
    caller = api(business_id)
    with engine.connect() as somebody:
        somebody.execute(text("SELECT FROM background_jobs WHERE id = :id FOR UPDATE"), {"id": job_id})
        for job in (caller.get(f"/api/jobs/{job_id}").json, caller.get("/api/jobs").json["jobs"][0]):
            assert (job["status"], job["is_stale"]) == ("running", stale)
        somebody.rollback()
    job = caller.get(f"/api/jobs/{job_id}").json
    assert (job["status"], job["is_stale"]) == ("failed" if stale else "running", False)


@pytest.mark.parametrize("bad", ["abc", "1.5", "-1", "9223372036854775808", "1" * 40, "%D9%A3", "0x1", "1%00"])
def test_an_id_that_is_no_number_or_beyond_bigint_is_a_400_that_says_so(bad, api, make) -> None:
    caller = api(make.business())
    for method, path in (("GET", f"/api/jobs/{bad}"), ("POST", f"/api/receipts/jobs/{bad}/cancel")):
        answer = caller.call(method, path)
        assert answer.status_code == 400
        assert "expected a number from 0 to 9223372036854775807" in answer.json["error"]


def test_the_largest_id_is_simply_not_found(api, make) -> None:
    assert api(make.business()).get("/api/jobs/9223372036854775807").status_code == 404


@pytest.mark.parametrize("prefix", ["/api/jobs", "/api/receipts/jobs"])
@pytest.mark.parametrize("verb", ["pause", "cancel", "resume"])
@pytest.mark.parametrize("status", ["queued", "running", "paused", "completed", "cancelled", "failed"])
def test_each_verb_answers_as_the_table_says(prefix, verb, status, api, make, worker_id, events) -> None:
    business_id = make.business()
    job_id = make.job(business_id, status=status, worker_id=worker_id)
    answer = api(business_id).post(f"{prefix}/{job_id}/{verb}")
    expected = VERBS[verb].get((status, None))
    if expected is None:
        assert (answer.status_code, answer.json["code"], answer.json["status"]) == (409, "wrong_status", status)
    else:
        assert answer.status_code == 200
        assert (answer.json["status"], answer.json["requested"]) == expected
        if expected != (status, None):
            assert [event["actor"] for event in events(job_id)] == ["user:7"]


def test_resume_while_another_job_is_active_is_a_409_that_names_it(api, make) -> None:
    business_id = make.business()
    failed, active = make.job(business_id, status="failed"), make.job(business_id)
    answer = api(business_id).post(f"/api/jobs/{failed}/resume")
    assert (answer.status_code, answer.json["code"], answer.json["job_id"]) == (409, "job_active", active)


def test_the_list_goes_page_by_page_newest_first_and_only_through_the_own_business(api, make) -> None:
    business_id = make.business()
    mine = [make.job(business_id, status="completed") for _ in range(5)]
    make.job(status="completed")
    caller = api(business_id, "member")
    seen, after = [], ""
    while True:
        answer = caller.get("/api/jobs", query_string=f"limit=2{after}").json
        seen += [job["job_id"] for job in answer["jobs"]]
        if answer["next_after"] is None:
            break
        after = f"&after={answer['next_after']}"
    assert seen == mine[::-1]


def test_the_list_can_be_narrowed_to_a_status_and_a_type(api, make) -> None:
    business_id = make.business()
    completed, failed = make.job(business_id, status="completed"), make.job(business_id, status="failed")
    other = make.job(business_id, status="failed", job_type="sync_receipts")  # of a newer release, say
    caller = api(business_id)

    def found(query: str) -> list[int]:
        return [job["job_id"] for job in caller.get("/api/jobs", query_string=query).json["jobs"]]

    assert found("") == [other, failed, completed]
    assert found("status=failed") == [other, failed]
    assert found("job_type=delete_receipts") == [failed, completed]
    assert found("status=failed&job_type=delete_receipts") == [failed]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("status=cancelling", "status"),
        ("job_type=make_coffee", "Found the job_type 'make_coffee', expected one of delete_receipts"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=many", "limit"),
        ("limit=1&limit=2", "limit"),
        ("after=-1", "after"),
        ("after=9223372036854775808", "after"),
        ("offset=3", "Unknown field 'offset'"),
    ],
)
def test_a_query_that_makes_no_sense_is_a_400_that_names_it(query, says, api, make) -> None:
    answer = api(make.business()).get("/api/jobs", query_string=query)
    assert answer.status_code == 400
    assert says in answer.json["error"]


def test_the_timeline_tells_who_did_what_in_order_page_by_page(api, make) -> None:
    business_id = make.business()
    caller, job_id = api(business_id), make.job(business_id)
    for verb in ("pause", "resume", "cancel"):
        caller.post(f"/api/jobs/{job_id}/{verb}")
    first = caller.get(f"/api/jobs/{job_id}/events", query_string="limit=2").json
    assert [event["event"] for event in first["events"]] == ["paused", "resumed"]
    rest = caller.get(f"/api/jobs/{job_id}/events", query_string=f"after={first['next_after']}").json
    assert [(event["event"], event["actor"]) for event in rest["events"]] == [("cancelled", "user:7")]
    assert rest["next_after"] is None


def test_jobs_are_listed_by_the_day_of_their_start(api, make) -> None:
    business_id = make.business()
    days = [make.job(business_id, "completed", created_at=f"2025-01-0{day}T12:00:00Z") for day in (1, 2, 3)]
    caller = api(business_id, "member")

    def listed(query: str) -> list[int]:
        return [job["job_id"] for job in caller.get(f"/api/jobs?{query}").json["jobs"]]

    assert listed("from_date=2025-01-02") == [days[2], days[1]]
    assert listed("from_date=2025-01-02&to_date=2025-01-02") == [days[1]]
    assert listed("to_date=2025-01-01&status=completed") == [days[0]]
    assert caller.get("/api/jobs?from_date=2").status_code == 400


def test_those_that_do_not_move_are_listed_alone(api, make) -> None:
    stuck, other = make.job(), make.job(status="completed")
    operator = api(None, "operator")
    assert [job["job_id"] for job in operator.get("/api/jobs?stuck=true").json["jobs"]] == [stuck]
    assert len(operator.get("/api/jobs").json["jobs"]) == 2
    assert api(make.business()).get("/api/jobs?stuck=true").json["jobs"] == []
    assert other


def test_an_operator_takes_one_job_from_its_worker_and_nobody_else_may(api, make, job_row) -> None:
    business_id = make.business()
    job_id = make.job(business_id, "running")
    operator, owner = api(None, "operator"), api(business_id)
    assert operator.get(f"/api/jobs/{job_id}").json["links"]["reset"] == f"/api/jobs/{job_id}/reset"
    assert "reset" not in owner.get(f"/api/jobs/{job_id}").json["links"]
    assert owner.post(f"/api/jobs/{job_id}/reset").status_code == 403
    assert operator.post(f"/api/jobs/{job_id}/reset").json["status"] == "failed"
    assert operator.post(f"/api/jobs/{job_id}/reset").json["code"] == "wrong_status"


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


LOOK = "SELECT (job).id, is_unknown, is_stale, is_in_doubt, reason FROM look_at_jobs(:ids, 120, 300, 100)"


@pytest.mark.parametrize(
    ("columns", "silent", "reason"),
    [
        ({}, "1 s", "running"),
        ({}, None, "running"),
        ({"requested": "pause"}, "1 s", "stopping"),
        ({"waiting_for": "deadlock detected"}, "1 s", "backing_off"),
        ({"refusals": 12, "last_error": "no such day"}, "1 s", "not_moving"),
        ({"updated_at": 40}, "1 s", "not_moving"),
        ({"updated_at": 3, "cursor": {"phase": "list"}}, "1 s", "listing"),
        ({"cursor": {"phase": "list"}}, "4 s", "running"),
        ({"cursor": {"phase": "list"}}, "5 s", "listing"),  # it was asked why not
        ({}, "8 s", "silent_worker"),
        ({}, "20 s", "silent_worker"),
    ],
)
def test_a_job_is_said_to_run_only_if_nothing_speaks_against_it(
    columns, silent, reason, make, sql, workers_are
) -> None:
    workers_are({9: silent})
    sql("SELECT watch_clock()")
    given = columns | ({"updated_at": ago(columns["updated_at"])} if "updated_at" in columns else {})
    job_id = make.job(status="running", worker_id=9, **given)
    assert [row["reason"] for row in sql(LOOK, ids=[job_id])] == [reason]


@pytest.mark.parametrize(("failed", "reason"), [(1, "bucket_refuses"), (0, "running")])
def test_a_job_runs_well_only_if_no_file_of_it_is_refused(failed, reason, make, sql, workers_are) -> None:
    workers_are({9: "1 s"})
    sql("SELECT watch_clock()")
    job_id = make.job(status="running", worker_id=9)
    sql("INSERT INTO attachment_counts VALUES (:job, 0, 0, :failed, 3)", job=job_id, failed=failed)
    assert [row["reason"] for row in sql(LOOK, ids=[job_id])] == [reason]


@pytest.mark.parametrize(
    ("seen", "worker", "status", "in_doubt"),
    [
        (1, 9, "running", False),
        (7, 9, "running", True),
        (-4, 9, "running", True),
        (None, 9, "running", True),
        (1, 8, "running", True),
        (10, 8, "queued", False),
    ],
)
def test_it_is_in_doubt_whether_a_job_runs_if_nobody_watches_or_sees_its_worker(
    seen, worker, status, in_doubt, make, sql, workers_are
) -> None:
    workers_are({9: "1 s"})
    job_id = make.job(status=status, worker_id=worker)
    sql("UPDATE watched_clock SET seen_at = :at", at=None if seen is None else ago(seen))
    assert [row["is_in_doubt"] for row in sql(LOOK, ids=[job_id])] == [in_doubt]


@pytest.mark.parametrize(
    ("columns", "stale"),
    [
        ({"stale_after": "40 s", "heartbeat_at": ago(60)}, True),
        ({"stale_after": "1 hour", "heartbeat_at": ago(200)}, False),
        ({"unchanged_after": "40 s", "updated_at": ago(60)}, True),
        ({"unchanged_after": "1 hour", "updated_at": ago(400)}, False),
        ({"unchanged_after": "40 s", "updated_at": ago(60), "status": "queued"}, False),
    ],
)
def test_a_job_is_stale_by_the_limits_of_its_claim(columns, stale, make, sql, workers_are) -> None:
    workers_are({9: "1 s"})
    job_id = make.job(**{"status": "running", "worker_id": 9, **columns})
    assert [row["is_stale"] for row in sql(LOOK, ids=[job_id])] == [stale]


@pytest.mark.parametrize(
    ("silent", "kinds", "resends", "unknown"),
    [
        ({9: "1 s"}, "{sync_receipts}", 2, True),
        ({9: None}, "{sync_receipts}", 2, True),
        ({9: "1 s"}, "{sync_receipts}", 1, False),  # a worker of the next release may be about to come
        ({9: "1 s"}, "{sync_receipts,delete_receipts}", 2, False),
        ({9: "1 s"}, None, 2, False),  # of a release that does not say what it knows
        ({9: "15 s"}, "{sync_receipts}", 2, False),
        ({}, None, 2, False),
    ],
)
def test_a_kind_is_unknown_if_live_workers_have_had_its_message_and_none_knows_it(
    silent, kinds, resends, unknown, make, sql, workers_are
) -> None:
    workers_are(silent, kinds=kinds)
    looked = sql(LOOK, ids=[make.job(resends=resends), make.job(status="running", resends=resends)])
    assert [row["is_unknown"] for row in looked] == [False, unknown]  # the newest first


@pytest.mark.parametrize("purged", [False, True])
@pytest.mark.parametrize("error", [None, "AccessDenied"])
def test_a_file_that_is_recorded_or_forgotten_later_counts_as_what_it_is(purged, error, make, sql) -> None:
    business_id = make.business()
    (receipt_id,) = make.receipts(business_id, 1)
    for key in "ab":
        sql(
            """INSERT INTO attachments (receipt_id, business_id, object_key, content_type, purge_requested_at,
                                        purge_after, purge_job_id, purged_at, purge_error)
               VALUES (:r, :b, :key, '', now(), now(), 1, CASE WHEN :purged THEN now() END, :error)""",
            r=receipt_id, b=business_id, key=key, purged=purged, error=error,
        )  # fmt: skip
    names = {(True, None): "deleted", (True, "AccessDenied"): "kept", (False, "AccessDenied"): "failed"}
    counts = dict.fromkeys(("deleted", "kept", "failed", "pending"), 0)
    counted = "SELECT deleted, kept, failed, pending FROM attachment_counts"
    for number in (2, 1, 0):
        assert sql(counted) == [counts | {names.get((purged, error), "pending"): number}]
        sql("DELETE FROM attachments WHERE id = (SELECT max(id) FROM attachments)")


def test_a_look_in_a_long_transaction_goes_by_the_time_of_the_look(make, engine, workers_are) -> None:
    workers_are({9: "1 s"})
    job_id = make.job(status="running", worker_id=9, cursor={"phase": "list"})
    with engine.begin() as session:
        session.execute(text("UPDATE watched_clock SET seen_at = clock_timestamp()"))
        session.execute(
            text("""UPDATE background_jobs SET updated_at = clock_timestamp(),
                                               heartbeat_at = clock_timestamp() - interval '0.5 s'""")
        )
        look = "SELECT is_in_doubt, seconds_since_heartbeat, reason FROM look_at_jobs(:ids, 120, 300, 100)"
        assert session.execute(text(look), {"ids": [job_id]}).one() == (False, 1, "running")
