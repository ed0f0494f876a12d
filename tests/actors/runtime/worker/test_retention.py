"""What is old is cleared away; what is not, or is not finished, stays."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from actors.runtime.worker import retention
from actors.runtime.worker.retention import DELETE, clear_old_rows
from service.local.processes import wait_until
from sql.locks import RETENTION, holding


def test_old_messages_jobs_and_workers_go_and_all_else_stays(make, sql, engine, settings, worker_id) -> None:
    old = datetime.now(UTC) - timedelta(days=400)
    for state, mtime in (("done", old), ("rejected", old), ("queued", old), ("consumed", old), ("done", None)):
        sql(
            "INSERT INTO dramatiq.queue (message_id, state, mtime) VALUES (gen_random_uuid(), :s, coalesce(:m, now()))",
            s=state,
            m=mtime,
        )
    gone = make.job(status="completed", created_at=old, finished_at=old)
    sql("INSERT INTO job_events (job_id, event, to_status, actor, attempt) VALUES (:j, 'x', 'x', 'x', 1)", j=gone)
    kept = [
        make.job(status="paused", created_at=old),
        make.job(status="completed", created_at=old),
        make.job(status="completed"),
    ]
    sql("INSERT INTO workers (hostname, pid, queues, release, started_at) VALUES ('old', 1, '{}', '', :old)", old=old)
    sql("UPDATE workers SET started_at = :old", old=old)

    assert clear_old_rows(engine, settings) == {"messages": 2, "jobs": 1, "workers": 1, "mails": 0}

    assert sorted(row["state"] for row in sql("SELECT state FROM dramatiq.queue")) == ["consumed", "done", "queued"]
    assert [row["id"] for row in sql("SELECT id FROM background_jobs ORDER BY id")] == kept
    assert sql("SELECT FROM job_events") == []
    assert sql("SELECT id FROM workers") == [{"id": worker_id}]  # alive, however old


def test_the_mails_of_a_deleted_connection_go_but_not_its_receipts(make, sql, engine, settings) -> None:
    business = make.business()
    (receipt,) = make.receipts(business, 1)
    now, old = datetime.now(UTC), datetime.now(UTC) - timedelta(days=400)
    for status, since in (("deleted", old), ("deleted", now), ("connected", old)):
        secret = None if status == "deleted" else b"x"
        (connection,) = sql(
            """INSERT INTO connections (business_id, provider, account, status, secret, updated_at)
               VALUES (:b, 'imap', 'dana', :status, :secret, :since) RETURNING id""",
            b=business, status=status, secret=secret, since=since,
        )  # fmt: skip
        for uid, state in enumerate(("pending", "not_receipt", "duplicate", "unreadable", "receipt")):
            sql(
                """INSERT INTO mail_messages (connection_id, business_id, uidvalidity, uid, message_hash, received_at,
                                              size, state, reason, receipt_id, decided_at)
                   VALUES (:c, :b, 7, :uid, sha256('x'), :old, 5, :state, 'x', :receipt,
                           CASE WHEN :state <> 'pending' THEN CAST(:old AS timestamptz) END)""",
                c=connection["id"], b=business, uid=uid, old=old, state=state,
                receipt=receipt if state in ("duplicate", "receipt") else None,
            )  # fmt: skip
    assert clear_old_rows(engine, settings)["mails"] == 4
    left = "SELECT state, count(*) AS n FROM mail_messages GROUP BY state ORDER BY n DESC"
    assert sql(left)[0] == {"state": "receipt", "n": 3}


def test_the_counts_of_attachments_go_with_their_job_and_no_earlier(make, sql, engine, settings) -> None:
    job = make.job(status="completed")
    sql("INSERT INTO attachment_counts VALUES (:job, 1, 0, 0, 0), (:gone, 1, 0, 0, 0)", job=job, gone=job + 1)
    clear_old_rows(engine, settings)
    assert sql("SELECT job_id FROM attachment_counts") == [{"job_id": job}]


def test_a_key_of_a_start_goes_after_a_day_when_it_is_as_good_as_none(make, sql, engine, settings) -> None:
    for hours in (23, 25):
        sql(
            """INSERT INTO idempotency_keys (business_id, token_id, address, key, request_sha256, created_at)
               SELECT :b, 1, '/api/jobs', :h || '-' || n, '', now() - make_interval(hours => :h)
               FROM generate_series(1, 1200) n""",
            b=make.business(),
            h=hours,
        )
    clear_old_rows(engine, settings)
    assert sql("SELECT count(*) AS n, min(key) AS key FROM idempotency_keys") == [{"n": 1200, "key": "23-1"}]


def test_more_rows_than_one_statement_takes_are_all_cleared(sql, engine, settings) -> None:
    sql("""INSERT INTO dramatiq.queue (message_id, state, mtime)
           SELECT gen_random_uuid(), 'done', now() - interval '8 days' FROM generate_series(1, 2500)""")
    assert clear_old_rows(engine, settings)["messages"] == 2500


@pytest.mark.parametrize(
    ("does", "which"),
    [
        ("RAISE 'no'", 0),
        ("RAISE 'no'", 1),
        ("RAISE 'no'", 3),
        ("RETURN NULL", 1),  # it says nothing and deletes nothing
        pytest.param("PERFORM pg_sleep(60)", 1, marks=pytest.mark.scale),
    ],
)
def test_a_row_that_cannot_be_deleted_stays_and_all_others_go(does, which, make, sql, engine, settings) -> None:
    old = datetime.now(UTC) - timedelta(days=400)
    jobs = [make.job(status="completed", created_at=old, finished_at=old) for _ in range(4)]
    sql("""INSERT INTO dramatiq.queue (message_id, state, mtime)
           SELECT gen_random_uuid(), 'done', now() - interval '8 days' FROM generate_series(1, 5)""")
    sql(f"""CREATE FUNCTION bad() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {does}; RETURN old; END $$;
            CREATE TRIGGER bad BEFORE DELETE ON background_jobs FOR EACH ROW WHEN (old.id = {jobs[which]})
            EXECUTE FUNCTION bad()""")
    assert clear_old_rows(engine, settings) == {"messages": 5, "jobs": 3, "workers": 0, "mails": 0}
    assert sql("SELECT id FROM background_jobs") == [{"id": jobs[which]}]


def test_an_error_of_the_server_ends_the_round_and_the_next_one_does_it_all(make, sql, engine, settings) -> None:
    old = datetime.now(UTC) - timedelta(days=400)
    for _ in range(2):
        make.job(status="completed", created_at=old, finished_at=old)
    sql("""CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE disk_full; END $$;
           CREATE TRIGGER no_room BEFORE DELETE ON background_jobs FOR EACH ROW EXECUTE FUNCTION no_room()""")
    with pytest.raises(DBAPIError, match="disk_full"):
        clear_old_rows(engine, settings)
    sql("DROP TRIGGER no_room ON background_jobs")
    assert clear_old_rows(engine, settings)["jobs"] == 2


def test_a_worker_clears_what_is_old_by_itself(process, work, sql) -> None:
    sql("""INSERT INTO dramatiq.queue (message_id, state, mtime)
           VALUES (gen_random_uuid(), 'done', now() - interval '400 days')""")
    work(process().broker())
    wait_until(lambda: sql("SELECT FROM dramatiq.queue") == [], 30, "the old message to go")


def test_what_is_not_old_enough_by_an_hour_stays(make, sql, engine, settings) -> None:
    """Messages for 7 days, jobs and workers for 90."""
    for days, hours in ((7, -1), (7, 1), (90, -1), (90, 1)):
        at = datetime.now(UTC) - timedelta(days=days, hours=hours)
        if days == 7:
            for state in ("done", "rejected"):
                sql("INSERT INTO dramatiq.queue (message_id, state, mtime) VALUES (gen_random_uuid(), :s, :at)",
                    s=state, at=at)  # fmt: skip
        else:
            for status in ("completed", "failed", "cancelled"):
                make.job(status=status, created_at=at, finished_at=at)
            sql("INSERT INTO workers (hostname, pid, queues, release, started_at) VALUES (:name, 1, '{}', '', :at)",
                name=str(hours), at=at)  # fmt: skip
    with capture_logs() as lines:
        assert clear_old_rows(engine, settings) == {"messages": 2, "jobs": 3, "workers": 1, "mails": 0}
        assert clear_old_rows(engine, settings) == {"messages": 0, "jobs": 0, "workers": 0, "mails": 0}
    assert sql("SELECT hostname FROM workers") == [{"hostname": "-1"}]
    (line,) = lines
    assert (line["event"], line["messages"], line["jobs"]) == ("retention.cleared", 2, 3)


def test_a_row_that_somebody_holds_stays_till_the_next_round_and_delays_no_other(make, sql, engine, settings) -> None:
    old = datetime.now(UTC) - timedelta(days=400)
    jobs = [make.job(status="completed", created_at=old, finished_at=old) for _ in range(3)]
    with engine.connect() as somebody, capture_logs() as lines:
        somebody.execute(text("SELECT FROM background_jobs WHERE id = :id FOR UPDATE"), {"id": jobs[1]})
        assert clear_old_rows(engine, settings)["jobs"] == 2
    assert [(line["what"], line["id"]) for line in lines if line["event"] == "row.left"] == [
        ("retention of jobs", str(jobs[1]))
    ]
    assert clear_old_rows(engine, settings)["jobs"] == 1


def test_while_one_worker_clears_another_does_nothing(make, sql, engine, settings) -> None:
    sql("""INSERT INTO dramatiq.queue (message_id, state, mtime)
           VALUES (gen_random_uuid(), 'done', now() - interval '400 days')""")
    with engine.connect() as other, holding(other, RETENTION) as held:
        assert held
        assert clear_old_rows(engine, settings)["messages"] == 0
    assert clear_old_rows(engine, settings)["messages"] == 1


OLD = "now() - interval '400 days'"
OLD_ROWS = {  # each three rows, of which one is bad
    "dramatiq.queue": (
        f"(message_id, queue_name, state, mtime) SELECT gen_random_uuid(), n, 'done', {OLD} FROM names",
        "old.queue_name = 'bad'",
    ),
    "background_jobs": (
        f"""(business_id, job_type, queue, actor, status, created_at, finished_at)
            SELECT :business, 'delete_receipts', 'maintenance', n, 'completed', {OLD}, {OLD} FROM names""",
        "old.actor = 'bad'",
    ),
    "workers": (
        f"(hostname, pid, queues, release, started_at) SELECT n, 1, '{{}}', '', {OLD} FROM names",
        "old.hostname = 'bad'",
    ),
    "attachment_counts": ("SELECT 1000 + length(n), 1, 0, 0, 0 FROM names", "old.job_id = 1003"),
    "idempotency_keys": (
        f"""(business_id, token_id, address, key, request_sha256, created_at)
            SELECT :business, 1, '/api/jobs', n, '', {OLD} FROM names""",
        "old.key = 'bad'",
    ),
    "sessions": (
        f"""(session_sha256, token_id, created_at, expires_at)
            SELECT sha256(CAST(n AS bytea)), length(n), {OLD}, now() FROM names""",
        "old.token_id = 3",
    ),
    "mail_messages": (
        f"""(connection_id, business_id, uidvalidity, uid, message_hash, received_at, size, state)
            SELECT c.id, :business, 7, length(n), sha256('x'), {OLD}, 5, 'pending' FROM names, connections c""",
        "old.uid = 3",
    ),
}


@pytest.mark.parametrize("table", OLD_ROWS)
def test_an_old_row_that_stays_is_tried_once_in_a_round_and_keeps_no_other(
    table, make, sql, engine, settings, monkeypatch
) -> None:
    monkeypatch.setattr(retention, "CHUNK", 1)
    business, (rows, bad) = make.business(), OLD_ROWS[table]
    sql(f"""INSERT INTO connections (business_id, provider, account, status, updated_at)
            VALUES ({business}, 'imap', 'dana', 'deleted', {OLD})""")
    names = "WITH names (n) AS (VALUES ('bad'), ('good'), ('better'))"
    sql(f"{names} INSERT INTO {table} {rows}".replace(":business", str(business)))
    sql(f"""CREATE FUNCTION stay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
            CREATE TRIGGER stay BEFORE DELETE ON {table} FOR EACH ROW WHEN ({bad}) EXECUTE FUNCTION stay()""")
    clear_old_rows(engine, settings)
    assert sql(f"SELECT count(*) AS n, count(*) FILTER (WHERE {bad.replace('old.', '')}) AS bad FROM {table}") == [
        {"n": 1, "bad": 1}
    ]


def test_a_session_of_the_page_goes_once_it_can_log_nobody_in(make, sql, engine, settings) -> None:
    tokens = {
        "good": "expires_at = NULL",
        "good for an hour": "expires_at = now() + interval '1 hour'",
        "expired": "expires_at = now() - interval '1 second'",
        "revoked": "revoked_at = now()",
        "gone": "",
    }
    for name, changes in tokens.items():
        make.token(make.business())
        (token,) = sql("SELECT max(id) AS id FROM api_tokens")
        for expired in (False, True):
            sql(
                """INSERT INTO sessions (session_sha256, token_id, created_at, expires_at)
                   VALUES (sha256(CAST(:name AS bytea)), :id, now() - interval '2 hours',
                           now() + make_interval(secs => CASE WHEN :expired THEN -1 ELSE 60 END))""",
                name=f"{name} {expired}", expired=expired, id=token["id"],
            )  # fmt: skip
        sql(f"UPDATE api_tokens SET {changes} WHERE id = :id" if changes else "DELETE FROM api_tokens WHERE id = :id",
            id=token["id"])  # fmt: skip
    clear_old_rows(engine, settings)
    kept = sql("SELECT session_sha256 = sha256('good False') AS good FROM sessions ORDER BY id")
    assert kept == [{"good": True}, {"good": False}]
    assert sql("SELECT FROM sessions WHERE session_sha256 = sha256('good for an hour False')")


def test_a_key_that_was_reused_since_it_was_found_old_stays(make, sql) -> None:
    (key,) = sql(
        """INSERT INTO idempotency_keys (business_id, token_id, address, key, request_sha256)
           VALUES (:b, 1, '/api/jobs', 'new', '') RETURNING CAST(ctid AS text)""",
        b=make.business(),
    )
    assert sql(DELETE["keys"].replace("::", r"\:\:"), ids=[key["ctid"]]) == []
    assert len(sql("SELECT FROM idempotency_keys")) == 1
