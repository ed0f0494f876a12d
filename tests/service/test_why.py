"""Why is it not moving? Each reason made real; the API and psql give the same answer, and its remedy works."""

import json
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import psycopg2
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from actors.delete_receipts import delete_receipts
from actors.mail.errors import of_answer
from actors.runtime.base.errors import StorageError
from actors.runtime.base.storage import Bucket
from actors.runtime.jobs.perform import perform
from actors.runtime.jobs.run import Batch, Run
from actors.runtime.jobs.verdicts import Permanent, Transient
from actors.runtime.outbox import purge_all_due
from service.local.processes import wait_until
from sql.engine import make_engine
from sql.url import database_name
from tests.actors.runtime.tiny import as_role, kind
from tests.conftest import worker_at

FLEETING = {"backend_pid", "backend_state", "query", "query_start", "wait_event"}  # of a batch, which may have ended


@pytest.fixture
def reason(sql) -> Callable[[int], str]:
    """reason(job_id): as psql says it."""
    return lambda job_id: sql("SELECT reason FROM ops.why(:id)", id=job_id)[0]["reason"]


@pytest.fixture
def why(sql, api) -> Callable[..., dict[str, Any]]:
    """why(job_id): as ops.why says it, and the API the same to an operator; less of it to others."""
    operator = api(None, "operator")

    def ask(job_id: int) -> dict[str, Any]:
        (told,) = sql("SELECT * FROM ops.why(:id)", id=job_id)
        said = operator.get(f"/api/jobs/{job_id}/why").json
        same = {name: said[name] for name in ("reason", "remedy")}
        assert same == {name: told[name] for name in same}, (said, told)
        assert set(said["evidence"]) - FLEETING == set(told["evidence"]) - FLEETING
        return told

    return ask


@pytest.fixture
def worker(engine) -> Iterator[int]:
    with worker_at(engine, ["maintenance"], ["delete_receipts"]) as connection:
        yield connection.info["worker_id"]


@pytest.fixture
def started(sql, make) -> Callable[[], int]:
    """started(): a queued job with its message."""

    def start(job_type: str = "delete_receipts") -> int:
        job = "SELECT id FROM start_job(:b, :t, 'maintenance', '{}', 3, 7, 'user:7')"
        return sql(job, b=make.business(), t=job_type)[0]["id"]

    return start


def test_without_a_worker_and_with_one_that_listens_elsewhere(why, started, engine) -> None:
    job_id = started()
    told = why(job_id)
    assert (told["reason"], told["evidence"]["queues_taken"]) == ("no_worker", [])
    assert told["sentence"] == "No live worker listens to the queue maintenance: none is alive"
    with worker_at(engine, ["receipts_sync", "low", "high", "recordings", "default", "broadcasts"]):
        told = why(job_id)
        listen = "broadcasts, default, high, low, receipts_sync, recordings"
        assert told["sentence"].endswith(f"those that live listen to {listen}")
        assert "Start a worker that listens to maintenance" in told["remedy"]
        with worker_at(engine, ["maintenance"]):  # the remedy
            assert why(job_id)["reason"] == "waiting_turn"


def test_a_job_that_waits_its_turn_counts_the_messages_ahead(why, started, worker, sql) -> None:
    started()
    started()
    told = why(started())
    assert (told["reason"], told["evidence"]["ahead"], told["evidence"]["jobs_running"]) == ("waiting_turn", 2, 0)
    assert "2 messages are ahead of it" in told["sentence"]
    sql("INSERT INTO dramatiq.queue (message_id, queue_name, state, seq) "
        "SELECT gen_random_uuid(), 'maintenance', 'queued', -n FROM generate_series(1, 2000) n")  # fmt: skip
    told = why(started())
    assert (told["evidence"]["ahead"], told["evidence"]["ahead_is_more"]) == (1000, True)


def test_a_snoozed_job_says_until_when_and_what_for_and_resume_ends_the_wait(
    why, started, worker, sql, job_row
) -> None:
    job_id = started()
    sql("SELECT claim_job(:id, :w)", id=job_id, w=worker)
    sql(
        "SELECT leave_running(:id, 1, 'queued', 'snoozed', 'worker', 'the quota of Gmail is used up', '1 hour')",
        id=job_id,
    )
    told = why(job_id)
    assert (told["reason"], told["since"]) == ("snoozed", job_row(job_id)["waits_since"])
    assert "the quota of Gmail is used up" in told["sentence"]
    assert told["evidence"]["wait_until"]
    assert (told["evidence"]["queue"], told["evidence"]["workers_listening"]) == ("maintenance", 1)
    sql(f"SELECT resume_job({job_id}, 'dana')")
    assert why(job_id)["reason"] == "waiting_turn"


def test_a_message_that_was_deleted_by_hand(why, started, worker, sql) -> None:
    job_id = started()
    sql("DELETE FROM dramatiq.queue")
    assert why(job_id)["reason"] == "no_message"
    sql("SELECT pause_job(:id, 'dana')", id=job_id)
    sql("SELECT resume_job(:id, 'dana')", id=job_id)
    assert why(job_id)["reason"] == "waiting_turn"


def test_a_message_that_a_stock_consumer_took(why, started, worker, sql) -> None:
    job_id = started()
    sql("UPDATE dramatiq.queue SET state = 'consumed', mtime = now()")
    told = why(job_id)
    assert told["reason"] == "no_message"
    assert "stock dramatiq-pg must not run beside our workers" in told["sentence"]
    sql("SELECT pause_job(:id, 'dana')", id=job_id)
    sql("SELECT resume_job(:id, 'dana')", id=job_id)
    assert why(job_id)["reason"] == "waiting_turn"


def test_a_message_that_a_stock_consumer_rejected_as_it_knows_no_such_actor(why, started, worker, sql) -> None:
    job_id = started()
    sql("UPDATE dramatiq.queue SET state = 'rejected', mtime = now()")
    told = why(job_id)
    assert (told["reason"], "none of ours" in told["sentence"]) == ("no_message", True)
    sql("SELECT pause_job(:id, 'dana')", id=job_id)
    sql("SELECT resume_job(:id, 'dana')", id=job_id)
    assert why(job_id)["reason"] == "waiting_turn"


def test_a_message_in_hand_whose_job_cannot_be_claimed(why, reason, started, worker, place, sql, job_row) -> None:
    sql("""CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               RAISE 'No space left on device' USING ERRCODE = 'disk_full'; END $$;
           CREATE TRIGGER no_space BEFORE INSERT ON job_events FOR EACH ROW WHEN (NEW.event = 'claimed')
               EXECUTE FUNCTION no_space()""")
    job_id = started()
    sql("UPDATE dramatiq.queue SET state = 'consumed', worker_id = :w, delivery = 1, mtime = now()", w=worker)
    with at_work(delete_receipts.work, place, job_id) as running:
        sql("SELECT watch_clock()")
        assert why(job_id)["reason"] == "waiting_turn"
        sql("UPDATE dramatiq.queue SET mtime = now() - interval '11 s'")
        told = why(job_id)
        assert told["reason"] == "not_moving"
        assert told["sentence"].endswith("has not begun within 10 s: it fails to claim the job")
        assert f"See backoff for job {job_id} in the log of worker {worker}, the process 42 on dyno7" in told["remedy"]
        sql("DROP TRIGGER no_space ON job_events")
        running.join(30)
    assert job_row(job_id)["attempt"] == 1


def test_a_kind_that_no_worker_knows(why, started, worker, sql, job_row) -> None:
    job_id = started("sync_things")
    told = why(job_id)
    assert (told["reason"], told["sentence"]) == ("unknown_kind", "No live worker knows the kind sync_things")
    sql("SELECT cancel_job(:id, 'dana', 'nobody knows it')", id=job_id)
    told = why(job_id)
    assert (told["reason"], told["evidence"]["status"], told["evidence"]["by"]) == ("ended", "cancelled", "dana")


def test_a_paused_job_names_who_paused_it_and_why(why, started, sql, worker) -> None:
    job_id = started()
    sql("SELECT pause_job(:id, 'dana', 'month end')", id=job_id)
    told = why(job_id)
    assert (told["reason"], told["sentence"]) == ("paused", "dana paused it: month end")
    assert told["evidence"] == {"paused_by": "dana", "why": "month end"}
    sql("SELECT resume_job(:id, 'ops')", id=job_id)
    assert why(job_id)["reason"] == "waiting_turn"


def test_a_job_that_a_token_without_a_name_paused_says_which(why, started, api, sql, worker) -> None:
    job_id = started()
    api(None, "operator").post(f"/api/jobs/{job_id}/pause")
    (token,) = sql("SELECT max(detail ->> 'token_id') AS id FROM job_events WHERE job_id = :id", id=job_id)
    assert str(why(job_id)["evidence"]["token_id"]) == token["id"]


@pytest.mark.parametrize("verb", ["pause", "cancel"])
def test_a_running_job_that_was_asked_to_stop(verb, why, make, worker, sql) -> None:
    job_id = make.job(status="running", worker_id=worker)
    sql(f"SELECT {verb}_job(:id, 'dana')", id=job_id)
    told = why(job_id)
    assert (told["reason"], told["evidence"]["requested"], told["evidence"]["by"]) == ("stopping", verb, "dana")
    if verb == "pause":
        sql("SELECT resume_job(:id, 'ops')", id=job_id)
        assert why(job_id)["reason"] == "running"


def test_a_dead_worker_is_named_to_an_operator_with_its_host(why, reason, make, engine, sql, api) -> None:
    with worker_at(engine, ["maintenance"]) as connection:
        worker_id = connection.info["worker_id"]
        business_id = make.business()
        job_id = make.job(business_id, "running", worker_id=worker_id)
        assert why(job_id)["reason"] == "running"
    wait_until(lambda: reason(job_id) == "silent_worker", 30, "the lock to go")
    told = why(job_id)
    assert told["sentence"] == f"Worker {worker_id} is dead, and no other listens to maintenance"
    assert (told["evidence"]["host"], told["evidence"]["process"]) == ("dyno7", 42)
    others = api(business_id).get(f"/api/jobs/{job_id}/why").json
    assert "host" not in others["evidence"]
    assert ("process" in others["remedy"], told["remedy"].endswith("the process 42 on dyno7")) == (False, True)
    assert api(business_id).get(f"/api/jobs/{job_id}").json["status"] == "queued"  # a look recovers it
    with worker_at(engine, ["maintenance"]):
        assert why(job_id)["reason"] == "waiting_turn"


def test_for_a_dead_worker_one_has_to_be_started_unless_another_listens(why, make, engine) -> None:
    job_id = make.job(status="running", worker_id=999)
    assert why(job_id)["remedy"].startswith("Start a worker that listens to maintenance")
    with worker_at(engine, ["maintenance"]):
        assert why(job_id)["remedy"] == "It goes on by itself, at another worker, within 20 s"


def test_a_worker_that_stands_still_is_seen_before_it_counts_as_dead(why, reason, make, engine, sql, api) -> None:
    with worker_at(engine, ["maintenance"], speaks=False) as connection:
        job_id = make.job(status="running", worker_id=connection.info["worker_id"])

        def is_silent() -> bool:
            sql("SELECT watch_clock()")  # as every sweep does
            return reason(job_id) == "silent_worker"

        wait_until(is_silent, 14, "the silence")
        told = why(job_id)
        assert 5 < told["evidence"]["silent_seconds"] < 15
        assert "has said nothing for" in told["sentence"]
        sql("UPDATE background_jobs SET updated_at = clock_timestamp()")  # its last batch can have ended just before
        assert api(None, "operator").get(f"/api/jobs/{job_id}").json["why"]["reason"] == "silent_worker"
        with connection.begin():
            connection.execute(text("SELECT 1"))  # kill -CONT
        assert why(job_id)["reason"] == "running"


def test_the_only_worker_that_stands_still_is_seen_though_nobody_watches_the_clock(
    why, reason, make, engine, sql, api
) -> None:
    with worker_at(engine, ["maintenance"], ["delete_receipts"], speaks=False) as connection:
        worker = connection.info["worker_id"]
        job_id = make.job(status="running", worker_id=worker)
        sql("UPDATE watched_clock SET seen_at = clock_timestamp() - interval '1 minute'")
        wait_until(lambda: reason(job_id) == "silent_worker", 30, "the silence")
        told = why(job_id)
        assert told["evidence"]["silent_seconds"] > 5
        assert told["remedy"].startswith("Start a worker that listens to maintenance")
        (state,) = sql("SELECT state FROM ops.workers WHERE id = :id", id=worker)
        assert state["state"] == "silent"
        said = api(None, "operator").get("/api/jobs/worker/config").json["workers"]
        assert [one["silent_seconds"] > 5 for one in said if one["worker_id"] == worker] == [True]
        assert {"live_workers": worker} in sql("SELECT live_workers()")  # nothing is taken from it for that


@pytest.mark.parametrize("how", ["database", "role"])
def test_a_database_that_takes_no_writes(how, why, started, worker, settings, sql) -> None:
    job_id, name = started(), database_name(settings.DATABASE_URL)
    if how == "database":
        sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    else:
        sql(f"ALTER ROLE postgres IN DATABASE {name} SET default_transaction_read_only = on")
    told = why(job_id)
    assert (told["reason"], told["sentence"]) == (
        "read_only",
        "Nothing can be written: the database is read-only by default",
    )
    with closing(psycopg2.connect(settings.DATABASE_URL)) as fresh:  # it begins read-only, as a person's does
        fresh.autocommit = True
        fresh.cursor().execute(told["remedy"])
    assert why(job_id)["reason"] == "waiting_turn"


def test_a_failed_job_says_why_and_resume_takes_it_on(why, make, sql, worker) -> None:
    job_id = make.job(status="failed", last_error="boom")
    told = why(job_id)
    assert (told["reason"], told["sentence"]) == ("failed", "It failed: boom")
    sql(f"SELECT resume_job({job_id}, 'dana')")
    assert why(job_id)["reason"] == "waiting_turn"


def test_jobs_that_have_ended(why, make) -> None:
    assert why(make.job(status="completed"))["reason"] == "ended"
    assert why(make.job(status="completed", processed=1, failed_count=1))["reason"] == "completed_with_failures"
    refused = make.job(status="completed", processed=3, succeeded=1, failed_count=2, last_error="no such day")
    told = why(refused)
    assert told["reason"] == "completed_with_failures"
    assert told["sentence"] == "It is completed, but 2 items were refused; the last: no such day"


def test_there_is_no_answer_for_a_job_that_is_none_or_anothers(sql, api, make) -> None:
    with pytest.raises(DBAPIError, match="no job 404404") as refusal:
        sql("SELECT * FROM ops.why(404404)")
    assert refusal.value.orig.pgcode == "LH404"
    others = make.job()
    for job_id in (404404, others):
        assert api(make.business()).get(f"/api/jobs/{job_id}/why").status_code == 404


@contextmanager
def at_work(work: Any, place: Any, job_id: int, **settings: int) -> Iterator[Thread]:
    """A run of this kind, in a thread of its own; over at the end."""
    thread = Thread(target=perform, args=(job_id, kind(work, **settings), place))
    thread.start()
    try:
        yield thread
    finally:
        place.stopping.set()
        thread.join(30)


def test_a_row_lock_in_the_batch_names_its_holder_whose_end_lets_the_job_go_on(
    why, reason, make, place, sql, engine, api, job_row
) -> None:
    business_id = make.business()
    job_id = make.job(business_id, message_id=None)
    sql("CREATE TABLE held (id int); INSERT INTO held VALUES (1)")
    other = engine.connect()
    other.execute(text("SELECT FROM held FOR UPDATE"))
    holder = other.execute(text("SELECT pg_backend_pid()")).scalar_one()

    def work(run: Run[Any]) -> Iterator[Batch]:
        run.begin().execute(text("UPDATE held SET id = 2"))
        batch = run.take([1], {"last_id": 1})
        batch.succeeded = 1
        yield batch

    with at_work(work, place, job_id) as running:
        wait_until(lambda: reason(job_id) == "blocked", 30, "the lock")
        told = why(job_id)
        assert told["evidence"]["blocker"]["pid"] == holder
        assert told["evidence"]["blocker"]["application"] == "test"
        assert told["evidence"]["backend_pid"]
        everybody = api(business_id).get(f"/api/jobs/{job_id}/why").json["evidence"]["blocker"]
        assert set(everybody) == {"pid", "seconds"}
        sql(told["remedy"].partition("or: ")[2])
        running.join(30)
    other.invalidate()
    assert job_row(job_id)["status"] == "completed"


def test_a_job_that_waits_to_try_again_says_for_what(why, reason, make, place, sql, job_row) -> None:
    job_id = make.job()
    sql("CREATE TABLE mended ()")

    def work(run: Run[Any]) -> Iterator[Batch]:
        if not run.begin().execute(text("SELECT to_regclass('mended_now')")).scalar():
            raise Transient("the provider is busy")
        batch = run.take([1], {"last_id": 1})
        batch.succeeded = 1
        yield batch

    with at_work(work, place, job_id) as running:
        wait_until(lambda: reason(job_id) == "backing_off", 30, "the wait")
        told = why(job_id)
        assert told["sentence"] == "It waits to try again: the provider is busy"
        assert told["since"] == job_row(job_id)["waits_since"]
        sql("ALTER TABLE mended RENAME TO mended_now")
        running.join(30)
    assert job_row(job_id)["status"] == "completed"


def test_a_trigger_that_refuses_every_row(why, reason, make, place, sql, job_row) -> None:
    business_id = make.business()
    make.receipts(business_id, 30)
    job_id = make.job(business_id)
    sql("""CREATE FUNCTION say_no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'under audit'; END $$;
           CREATE TRIGGER say_no BEFORE UPDATE ON receipts FOR EACH ROW EXECUTE FUNCTION say_no()""")
    slow = replace(place, settings=place.settings.model_copy(update={"BATCH_SIZE": 5, "THROTTLE_MS": 300}))
    with at_work(delete_receipts.work, slow, job_id) as running:
        wait_until(lambda: reason(job_id) == "not_moving", 30, "ten refusals")
        told = why(job_id)
        assert "items were refused, one after the other: under audit" in told["sentence"]
        assert told["evidence"]["refusals"] >= 10
        refused = "SELECT min(at) AS at FROM job_events WHERE job_id = :id AND event = 'row_failed'"
        assert (told["since"] - sql(refused, id=job_id)[0]["at"]).total_seconds() < 2  # ten take 3 s
        sql("DROP TRIGGER say_no ON receipts")
        running.join(30)
    assert why(job_id)["reason"] == "completed_with_failures"


def test_a_batch_that_takes_long_names_its_session(why, make, worker, sql, engine) -> None:
    job_id = make.job(status="running", worker_id=worker)
    sql("SELECT watch_clock()")
    sql("UPDATE background_jobs SET updated_at = now() - interval '40 s' WHERE id = :id", id=job_id)
    with engine.connect() as batch:
        batch.execute(text(f"SET LOCAL application_name = 'longhaul worker, job {job_id}/1'"))
        batch.execute(text("SELECT 'slow'"))
        told = why(job_id)
        assert (told["reason"], told["evidence"]["query"]) == ("not_moving", "SELECT 'slow'")
        seen = {name: told["evidence"][name] for name in ("backend_state", "wait_event")}
        assert seen == {"backend_state": "idle in transaction", "wait_event": "ClientRead"}
        since = batch.scalar(text("SELECT query_start FROM pg_stat_activity WHERE pid = :pid"),
                             {"pid": told["evidence"]["backend_pid"]})  # fmt: skip
        assert datetime.fromisoformat(told["evidence"]["query_start"]) < since
        assert "refusals" not in told["evidence"]
        batch.execute(text(f"SELECT '{'x' * 300}'"))
        seen = why(job_id)["evidence"]
        (session,) = sql("SELECT session_facts(:pid, true) AS facts", pid=seen["backend_pid"])
        assert [len(seen["query"]), len(session["facts"]["query"])] == [200, 200]
        assert told["sentence"] == "Its worker lives, but the batch in hand takes long"
    told = why(job_id)
    assert "It has no transaction open" in told["sentence"]
    reset, resume = (f"SELECT ops.{verb}_job({job_id}, 'your name'" for verb in ("reset", "resume"))
    assert told["remedy"].index(reset) < told["remedy"].index(resume)
    sql(f"{reset}, 'why')")
    assert why(job_id)["reason"] == "failed"
    sql(f"{resume})")
    assert why(job_id)["reason"] == "waiting_turn"


def test_an_account_that_has_to_be_connected_anew(why, make, place, worker, sql) -> None:
    job_id = make.job()

    def work(_run: Run[Any]) -> Iterator[Batch]:
        raise Permanent("Google has revoked the access", "needs_reconnect")
        yield

    with at_work(work, place, job_id) as running:
        running.join(30)
    told = why(job_id)
    assert told["reason"] == "needs_reconnect"
    assert "Google has revoked the access" in told["sentence"]
    sql(f"SELECT resume_job({job_id}, 'dana')")
    assert why(job_id)["reason"] == "waiting_turn"


@pytest.fixture
def mailbox(sql, make) -> tuple[int, int]:
    """A business and its connection."""
    business_id = make.business()
    (row,) = sql(
        """INSERT INTO connections (business_id, provider, account, settings, secret)
           VALUES (:b, 'imap', 'dana', '{"host": "mail.example.com", "port": 993, "folder": "INBOX"}', 'sealed')
           RETURNING id""",
        b=business_id,
    )
    return business_id, row["id"]


@pytest.fixture
def syncing(mailbox, make, engine) -> Iterator[Callable[..., int]]:
    """syncing("running", …): a sync of that mailbox."""
    business_id, connection_id = mailbox
    with worker_at(engine, ["receipts_sync"], ["sync_receipts"]) as connection:

        def new(status: str, **columns: Any) -> int:
            implied = {"job_type": "sync_receipts", "queue": "receipts_sync", "actor": "sync_receipts"}
            if status == "running":
                implied["worker_id"] = connection.info["worker_id"]
            return make.job(business_id, status, params={"connection_id": connection_id}, **{**implied, **columns})

        yield new


AT = {"id", "status", "host", "port", "folder"}


def test_a_sync_whose_password_was_refused_names_its_mailbox_and_what_was_said(why, mailbox, syncing, sql) -> None:
    _, connection_id = mailbox
    said = "The mail server refuses the log-in: 'no'"
    sql("UPDATE connections SET status = 'needs_reconnect', last_error = :said", said=said)
    told = why(syncing("failed", last_error=f"Connect the mailbox anew: {said}", error_code="needs_reconnect"))
    assert told["reason"] == "needs_reconnect"
    assert said in told["sentence"]
    assert told["evidence"]["connection"]["last_error"] == said
    assert f"POST /api/connections/{connection_id}/test" in told["remedy"]


def test_a_sync_that_its_server_throttles_says_until_when_and_that_waiting_helps(why, syncing, sql) -> None:
    job_id = syncing("running")
    waiting = "The mail server asks us to wait: 'slow down'"
    sql("SELECT leave_running(:id, 1, 'queued', 'snoozed', 'worker', :why, '1 hour')", id=job_id, why=waiting)
    told = why(job_id)
    assert told["reason"] == "snoozed"
    assert waiting in told["sentence"]
    assert set(told["evidence"]["connection"]) == AT
    assert "the server may then want more time" in told["remedy"]
    sql(f"SELECT resume_job({job_id}, 'dana')")
    assert why(job_id)["reason"] == "waiting_turn"


@pytest.mark.parametrize(("status", "reason"), [("running", "backing_off"), ("failed", "failed")])
def test_a_sync_whose_server_is_away_names_it_and_how_to_try_it(why, mailbox, syncing, status, reason, api) -> None:
    said = "The connection to the mail server failed"
    job_id = syncing(status, **({"waiting_for": said} if status == "running" else {"last_error": said}))
    told = why(job_id)
    assert told["reason"] == reason
    assert said in told["sentence"]
    assert told["evidence"]["connection"]["host"] == "mail.example.com"
    for role in ("owner", "member"):  # a member may not see connections
        others = api(mailbox[0], role).get(f"/api/jobs/{job_id}/why").json["evidence"]["connection"]
        assert others == {"id": mailbox[1], "status": "connected"}
    assert f"POST /api/connections/{mailbox[1]}/test" in told["remedy"]


def test_a_sync_that_lists_its_mailbox_says_so_and_how_far_it_is(why, syncing) -> None:
    stats = json.dumps({"pages_scanned": 3, "messages_listed": 600})
    told = why(syncing("running", cursor={"phase": "list", "after": 600}, stats=stats))
    assert told["reason"] == "listing"
    assert "600 so far" in told["sentence"]
    assert (told["evidence"]["pages_scanned"], told["evidence"]["messages_listed"]) == (3, 600)
    assert told["remedy"] == "None is needed"


def test_a_sync_that_lists_its_mailbox_is_not_stuck(syncing, api, sql) -> None:
    syncing("running", cursor={"phase": "list", "after": 600}, stats=json.dumps({"messages_listed": 600}))
    assert api(None, role="operator").get("/api/jobs?stuck=true").json["jobs"] == []
    assert sql("SELECT FROM ops.why_not_moving()") == []


def test_a_job_of_another_businesss_mailbox_tells_nothing_of_it(why, mailbox, make) -> None:
    job_id = make.job(job_type="sync_receipts", params={"connection_id": mailbox[1]})
    assert "connection" not in why(job_id)["evidence"]


def test_a_bucket_that_refuses(why, make, place, engine, settings, sql, tmp_path) -> None:
    business_id = make.business()
    make.attachments(make.receipts(business_id, 3), tmp_path)
    job_id = make.job(business_id)
    refusing = Bucket(settings.model_copy(update={"AWS_SECRET_ACCESS_KEY": "rotated"}))
    perform(job_id, delete_receipts, place)
    sql("UPDATE attachments SET purge_after = now()")
    with suppress(StorageError):
        purge_all_due(engine, refusing)
    told = why(job_id)
    assert (told["reason"], told["evidence"]["attachments_failed"]) == ("bucket_refuses", 3)
    assert told["evidence"]["attachments_error"] in told["sentence"]
    assert "ops.retry_purge" in told["remedy"]
    sql("SELECT ops.retry_purge('dana', 'new keys')")
    purge_all_due(engine, Bucket(settings))
    assert why(job_id)["reason"] == "ended"


def test_a_job_whose_files_are_still_to_go_is_moving_and_no_bucket_refuses(why, make, worker, sql, tmp_path) -> None:
    business_id = make.business()
    make.attachments(make.receipts(business_id, 2), tmp_path)
    job_id = make.job(business_id, "running", worker_id=worker)
    sql("UPDATE attachments SET purge_requested_at = now(), purge_after = now(), purge_job_id = :id", id=job_id)
    assert sql("SELECT pending, failed FROM attachment_counts") == [{"pending": 2, "failed": 0}]
    told = why(job_id)
    assert told["reason"] == "running"
    assert "attachments_failed" not in told["evidence"]


BUCKET = "bucket 'longhaul-prod' at https://store.internal:9000"
DENIED = "AccessDenied: User: arn:aws:iam::123456789012:user/dana is not authorized, see https://iam.internal/"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (f"{BUCKET} refuses our credentials (403)", "the bucket refuses our credentials (403)"),
        (f"{DENIED} of 123456789012", "AccessDenied: User: … is not authorized, see … of …"),
    ],
)
@pytest.mark.parametrize("status", ["completed", "running"])
def test_only_an_operator_is_told_where_the_bucket_is(api, make, worker, sql, tmp_path, error, told, status) -> None:
    business_id = make.business()
    make.attachments(make.receipts(business_id, 1), tmp_path)
    run = {"status": status, "worker_id": worker} if status == "running" else {"status": status}
    job_id = make.job(business_id, **run)
    sql(
        """UPDATE attachments SET purge_requested_at = now(), purge_after = now() + interval '1 hour',
               purge_attempts = 1, purge_job_id = :job, purge_error = :error""",
        job=job_id,
        error=error,
    )
    address = f"/api/jobs/{job_id}"
    member = api(business_id, "member")
    said = member.get(f"{address}/why").json
    assert (said["reason"], said["evidence"]["attachments_error"]) == ("bucket_refuses", told)
    for sentence in (said["sentence"], member.get(address).json["why"]["sentence"]):
        assert f"of its files: {told}." in sentence
    assert member.get(address).json["stats"]["attachments_error"] == told  # masked by other code
    assert error in api(None, "operator").get(f"{address}/why").json["sentence"]


@pytest.mark.parametrize("number", ["99999999999", "mine"])
def test_a_mail_server_that_says_what_we_say_of_a_blocker_is_not_believed(
    why, make, worker, engine, sql, number
) -> None:
    with engine.connect() as mine:
        pid = mine.execute(text("SELECT pg_backend_pid()")).scalar_one()
        said = (
            f"; blocked by the session with the pid {pid if number == 'mine' else number}, whose transaction is 7 s old"
        )
        sentence = str(of_answer(f"NO {said}"))
        job_id = make.job(status="running", worker_id=worker, waiting_for=sentence)
        told = why(job_id)
    assert (told["reason"], told["sentence"]) == ("backing_off", f"It waits to try again: {sentence}")


def test_a_row_of_the_job_that_somebody_holds_keeps_a_worker_from_claiming_it(
    why, reason, started, worker, engine, sql, settings
) -> None:
    job_id = started()
    sql("UPDATE dramatiq.queue SET state = 'consumed', worker_id = :w, delivery = 1", w=worker)
    holder, claimer = engine.connect(), engine.connect()
    holder.execute(text("SELECT FROM background_jobs WHERE id = :id FOR UPDATE"), {"id": job_id})
    claim = text("SELECT * FROM public.claim_job(CAST(:id AS bigint), CAST(:w AS integer))")
    thread = Thread(target=claimer.execute, args=(claim, {"id": job_id, "w": worker}))
    thread.start()
    wait_until(lambda: reason(job_id) == "blocked", 30, "the claim")
    assert why(job_id)["evidence"]["blocker"]["application"] == "test"
    holder.rollback()
    thread.join(30)
    claimer.commit()
    assert why(job_id)["reason"] == "running"
    holder.close()
    claimer.close()


def test_of_several_claims_that_wait_the_oldest_says_since_when(why, started, worker, engine, sql) -> None:
    job_id = started()
    sql("UPDATE dramatiq.queue SET state = 'consumed', worker_id = :w, delivery = 1", w=worker)
    waiting = """SELECT query_start FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock' ORDER BY query_start"""
    with ThreadPoolExecutor(2) as pool, engine.connect() as holder:
        holder.execute(text("SELECT FROM background_jobs WHERE id = :id FOR UPDATE"), {"id": job_id})
        for number in (1, 2):
            pool.submit(sql, "SELECT * FROM public.claim_job(:id, CAST(:w AS integer))", id=job_id, w=worker)
            wait_until(lambda number=number: len(sql(waiting)) == number, 30, "the claim to wait")
        assert why(job_id)["since"] == sql(waiting)[0]["query_start"]


@pytest.fixture
def their_role(settings, sql) -> Iterator[str]:
    """The role of a worker that listens, which may do all that it has to."""
    role = f"longhaul_test_{secrets.token_hex(4)}"
    sql(f"CREATE ROLE {role} LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public, dramatiq TO {role}")
    sql(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}; GRANT USAGE ON SCHEMA public, dramatiq TO {role}")
    theirs = make_engine(as_role(settings.DATABASE_URL, role), application_name="theirs")
    try:
        with worker_at(theirs, ["maintenance"]):
            yield role
    finally:
        theirs.dispose()
        sql(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_workers_whose_role_may_not_insert_are_named_with_the_grant(why, started, sql, their_role) -> None:
    job_id = started()
    assert why(job_id)["reason"] == "waiting_turn"
    for right, table in (("INSERT", "public.job_events"), ("UPDATE", "public.background_jobs")):
        sql(f"REVOKE {right} ON {table} FROM {their_role}")
    for right, table in (("INSERT", "public.job_events"), ("UPDATE", "public.background_jobs")):
        told = why(job_id)
        assert told["sentence"].endswith(f"the workers' role {their_role} may not {right} on {table}")
        sql(told["remedy"])
    assert why(job_id)["reason"] == "waiting_turn"


def test_of_two_settings_that_keep_from_writing_one_is_told_after_the_other(
    why, started, sql, settings, their_role
) -> None:
    job_id = started()
    sql(f"""ALTER ROLE {their_role} SET default_transaction_read_only = on;
            ALTER DATABASE {database_name(settings.DATABASE_URL)} SET default_transaction_read_only = on""")
    for _ in range(2):
        told = why(job_id)
        assert told["reason"] == "read_only"
        with closing(psycopg2.connect(settings.DATABASE_URL)) as fresh:
            fresh.autocommit = True
            fresh.cursor().execute(told["remedy"])
    assert why(job_id)["reason"] == "waiting_turn"


def test_workers_whose_role_is_read_only_in_every_database_are_seen(why, started, sql, settings, their_role) -> None:
    job_id = started()
    sql(f"ALTER ROLE {their_role} SET default_transaction_read_only = on")
    told = why(job_id)
    assert told["reason"] == "read_only"
    with closing(psycopg2.connect(settings.DATABASE_URL)) as fresh:
        fresh.autocommit = True
        fresh.cursor().execute(told["remedy"])
    assert why(job_id)["reason"] == "waiting_turn"


def test_what_of_one_business_is_stuck_is_looked_for_in_that_business_only(make, sql) -> None:
    business_id = make.business()
    own, _another = make.job(business_id), make.job()
    assert sql("SELECT jobs_to_explain(:b) AS id", b=business_id) == [{"id": own}]


def test_a_job_of_a_kind_that_no_live_worker_knows_is_looked_into(started, worker, sql) -> None:
    started()
    unknown = started("sync_things")
    assert sql("SELECT jobs_to_explain() AS id") == [{"id": unknown}]


def test_a_list_says_it_of_each_job_in_short(api, make, worker) -> None:
    business_id = make.business()
    jobs = {
        make.job(business_id, "paused"): "paused",
        make.job(business_id, "failed", last_error="boom"): "failed",
        make.job(business_id, "running", worker_id=worker, job_type="sync_receipts"): "running",
    }
    listed = api(business_id).get("/api/jobs").json["jobs"]
    assert {job["job_id"]: job["why"]["reason"] for job in listed} == jobs
    assert all(set(job["why"]) == {"reason", "sentence"} and job["why"]["sentence"] for job in listed)


@pytest.mark.parametrize(
    ("columns", "silent", "is_looked_into"),
    [
        ({}, "1 s", False),
        ({}, None, False),
        ({"updated": 1.5}, "1 s", False),
        ({"updated": 3}, "1 s", True),
        ({"updated": -60}, "1 s", True),  # the clock was set back
        ({"waiting_for": "deadlock detected"}, "1 s", True),
        ({"refusals": 9}, "1 s", False),
        ({"refusals": 10}, "1 s", True),
        ({}, "5 s", True),
        ({"worker_id": 8}, "1 s", True),
        ({"failed": 0}, "1 s", False),
        ({"failed": 1}, "1 s", True),
    ],
)
def test_a_running_job_is_looked_into_if_it_may_be_stuck(
    columns, silent, is_looked_into, make, sql, workers_are
) -> None:
    workers_are({9: silent})
    given = {"status": "running", "worker_id": 9, **columns}
    failed, updated = given.pop("failed", None), given.pop("updated", 0)
    job_id = make.job(**given)
    if failed is not None:
        sql("INSERT INTO attachment_counts VALUES (:job, 0, 0, :failed, 3)", job=job_id, failed=failed)
    sql("UPDATE background_jobs SET updated_at = clock_timestamp() - make_interval(secs => :s)", s=updated)
    assert sql("SELECT jobs_to_explain() AS id") == ([{"id": job_id}] if is_looked_into else [])


def test_a_look_in_a_long_transaction_sees_which_job_has_stood_still_since(make, sql, engine, workers_are) -> None:
    workers_are({9: "1 s"})
    job_id = make.job(status="running", worker_id=9)
    with engine.begin() as look:
        began = look.execute(text("SELECT now()")).scalar_one()
        sql("UPDATE background_jobs SET updated_at = :at", at=began - timedelta(seconds=1.9))
        wait_until(
            lambda: look.scalars(text("SELECT jobs_to_explain()")).all() == [job_id], 30, "the job to be looked into"
        )


def test_why_is_answered_by_the_time_of_the_question_in_a_long_transaction(make, engine, workers_are) -> None:
    workers_are({9: "8 s"}, queues="{low}")
    waits, runs = make.job(), make.job(status="running", worker_id=9)
    with engine.begin() as look, engine.begin() as other:
        look.execute(text("UPDATE background_jobs SET wait_until = clock_timestamp() WHERE id = :id"), {"id": waits})
        told = look.execute(text("SELECT reason, since - now() FROM why_jobs(:ids)"), {"ids": [waits, runs]}).all()
        assert [row.reason for row in told] == ["no_worker", "silent_worker"]
        assert told[1][1] > timedelta(seconds=-8)
        assert waits in look.scalars(text("SELECT jobs_to_explain()")).all()
        pid = other.scalar(text("SELECT pg_backend_pid()"))
        look.execute(text("SELECT pg_sleep(0.5), pg_stat_clear_snapshot()"))
        assert look.scalar(text("SELECT session_facts(:pid, false)"), {"pid": pid})["seconds"] == 1


@pytest.mark.parametrize(
    ("queue", "kinds", "silent", "message", "wait", "is_looked_into"),
    [
        ("maintenance", "{delete_receipts}", "1 s", "queued", None, False),
        ("maintenance", None, "1 s", "queued", None, False),
        ("maintenance", None, None, "queued", None, False),
        ("maintenance", None, "1 s", "queued", "-1 hour", False),
        ("maintenance", None, "1 s", "consumed", None, True),
        ("maintenance", None, "1 s", None, None, True),
        ("maintenance", None, "1 s", None, "1 hour", False),
        ("low", None, "1 s", "queued", None, True),
        ("maintenance", "{sync_receipts}", "1 s", "queued", None, True),
        ("maintenance", None, "14 s", "queued", None, False),
        ("maintenance", None, "15 s", "queued", None, True),
    ],
)
def test_a_queued_job_is_looked_into_unless_it_plainly_waits(
    queue, kinds, silent, message, wait, is_looked_into, make, sql, workers_are
) -> None:
    workers_are({9: silent}, queues=f"{{{queue}}}", kinds=kinds)
    job_id = make.job()
    if message:
        sql("SELECT send_job_message(:id)", id=job_id)
        sql("UPDATE dramatiq.queue SET state = CAST(:state AS dramatiq.state), worker_id = 9", state=message)
    sql("UPDATE background_jobs SET wait_until = now() + CAST(:wait AS interval)", wait=wait)
    assert sql("SELECT jobs_to_explain() AS id") == ([{"id": job_id}] if is_looked_into else [])


def test_while_nothing_can_be_written_every_job_is_looked_into(make, started, sql, settings, workers_are) -> None:
    workers_are({9: "1 s"})
    jobs = [started(), make.job(status="running", worker_id=9)]
    assert sql("SELECT jobs_to_explain()") == []
    sql(f"ALTER DATABASE {database_name(settings.DATABASE_URL)} SET default_transaction_read_only = on")
    assert sorted(row["id"] for row in sql("SELECT jobs_to_explain() AS id")) == jobs


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_what_has_ended_is_told_with_its_counters_and_who_ended_it(status, why, make, sql) -> None:
    columns = {"processed": 5, "succeeded": 3, "failed_count": 2, "total": 9, "last_error": "boom"}
    ended = ago(60)
    code = "refused" if status == "failed" else None
    job_id = make.job(status=status, finished_at=ended, error_code=code, **columns)
    log = "SELECT log_job_event(j, :e, 'running', :who, :why) FROM background_jobs j WHERE id = :id"
    sql(log, id=job_id, e="claimed", who="worker:1", why=None)
    sql(log, id=job_id, e=status, who="dana", why="month end")
    sql("INSERT INTO attachment_counts VALUES (:job, 4, 0, 0, 3)", job=job_id)
    told = why(job_id)
    expected = {name: value for name, value in columns.items() if name != "succeeded"}
    expected |= {"status": status, "by": "dana", "why": "month end"} | ({"error_code": code} if code else {})
    assert (told["evidence"], told["since"]) == (expected, ended)
    reasons = {"completed": "completed_with_failures", "failed": "failed", "cancelled": "ended"}
    assert told["reason"] == reasons[status]
    assert status != "cancelled" or told["sentence"] == "It has ended: cancelled by dana"


def test_a_pause_is_told_since_the_last_one_and_without_an_event_since_its_change(why, make, sql, events) -> None:
    job_id = make.job()
    for who, verb in (("dana", "pause"), ("dana", "resume"), ("eli", "pause")):
        sql(f"SELECT {verb}_job(:id, :who)", id=job_id, who=who)
    sql("UPDATE background_jobs SET updated_at = now() - interval '1 hour'")
    told = why(job_id)
    assert (told["sentence"], told["since"]) == ("eli paused it", events(job_id)[-1]["at"])
    silently = make.job(status="paused", updated_at=ago(60))
    told = why(silently)
    assert (told["sentence"], told["since"]) == ("Somebody paused it", sql_updated(sql, silently))


def sql_updated(sql, job_id: int) -> Any:
    return sql("SELECT updated_at FROM background_jobs WHERE id = :id", id=job_id)[0]["updated_at"]


def test_what_cannot_begin_is_told_since_its_last_change(why, make, started, sql, workers_are, settings) -> None:
    """A queue that nobody serves, a kind that nobody knows, a snooze of old and a database that takes no writes."""
    changed = ago(3600)
    job_id = started()
    sql("UPDATE background_jobs SET updated_at = :at, resends = 4, resent_at = :at", at=changed)
    told = why(job_id)
    assert (told["reason"], told["since"]) == ("no_worker", changed)
    assert (told["evidence"]["queue"], told["evidence"]["workers_listening"]) == ("maintenance", 0)
    workers_are({6: "20 s", 7: "1 s", 8: "1 s"}, queues="{low,high}")
    sql("UPDATE workers SET queues = '{default}' WHERE id = 6")  # which is dead
    told = why(job_id)
    assert (told["reason"], told["evidence"]["queues_taken"]) == ("no_worker", ["high", "low"])
    assert told["sentence"].endswith("those that live listen to high, low")
    workers_are({9: "1 s"}, kinds="{sync_receipts}")
    told = why(job_id)
    assert (told["reason"], told["since"], told["evidence"]["resends"]) == ("unknown_kind", changed, 4)
    workers_are({9: "20 s"})
    assert why(job_id)["reason"] == "no_worker"
    workers_are({9: "1 s"})
    sql("DELETE FROM dramatiq.queue")
    told = why(job_id)
    assert (told["reason"], told["since"], told["evidence"]["resends"]) == ("no_message", changed, 4)
    assert datetime.fromisoformat(told["evidence"]["resent_at"]) == changed
    assert told["sentence"].endswith("a live worker sends one within a second or two, later after 4 of them got lost")
    sql("UPDATE background_jobs SET wait_until = now() + interval '1 hour'")
    told = why(job_id)
    assert (told["reason"], told["since"]) == ("snoozed", changed)
    assert told["sentence"].endswith(": no reason is known")
    sql(f"ALTER DATABASE {database_name(settings.DATABASE_URL)} SET default_transaction_read_only = on")
    told = why(job_id)
    assert (told["reason"], told["since"]) == ("read_only", changed)


@pytest.mark.parametrize(
    ("state", "worker", "why_rejected", "stranger"),
    [
        ("consumed", None, None, True),
        ("done", None, None, True),
        ("rejected", None, None, True),
        ("rejected", 9, None, True),
        ("rejected", 9, "no such actor", False),
        ("done", 9, None, False),
    ],
)
def test_a_stranger_is_told_by_what_ours_would_have_left(state, worker, why_rejected, stranger, why, started, sql,
                                                         workers_are) -> None:  # fmt: skip
    workers_are({9: "1 s"})
    job_id, at = started(), ago(60)
    sql("UPDATE dramatiq.queue SET state = CAST(:s AS dramatiq.state), worker_id = :w, reason = :r, mtime = :at",
        s=state, w=worker, r=why_rejected, at=at)  # fmt: skip
    told = why(job_id)
    assert told["reason"] == "no_message"
    assert ("is none of ours has taken its message" in told["sentence"]) is stranger
    taken = told["evidence"].get("taken_by_a_stranger_at")
    assert (taken and datetime.fromisoformat(taken)) == (at if stranger else None)
    assert told["since"] == (at if state == "consumed" else sql_updated(sql, job_id))


@pytest.mark.parametrize(
    ("worker", "seconds", "reason"), [(9, 1, "waiting_turn"), (9, 8, "waiting_turn"), (9, 12, "not_moving"),
                                      (8, 1, "silent_worker"), (10, 1, "silent_worker")]
)  # fmt: skip
def test_a_message_in_hand_is_told_since_it_was_claimed(
    worker, seconds, reason, why, started, sql, workers_are, engine
) -> None:
    workers_are({9: "1 s", 10: "20 s"})
    sql("SELECT watch_clock()")
    job_id, at = started(), ago(seconds)
    sql("UPDATE dramatiq.queue SET state = 'consumed', worker_id = :w, mtime = :at", w=worker, at=at)
    with engine.begin() as idle:  # it waits for nothing
        idle.execute(text("SELECT * FROM public.claim_job(404404, 9)"))
        told = why(job_id)
    assert (told["reason"], told["since"], told["evidence"]["worker"]) == (reason, at, worker)
    if worker == 9:
        assert (told["evidence"]["host"], told["evidence"]["process"], told["evidence"]["ahead"]) == ("dyno7", 42, 0)
    else:
        assert told["sentence"] == f"Worker {worker} is dead, and the others take over what it held"


def test_only_what_comes_before_it_in_its_queue_is_ahead_of_a_job(started, make, sql, workers_are) -> None:
    workers_are({9: "1 s"})
    for name, state in (("low", "queued"), ("maintenance", "done"), ("maintenance", "consumed")):
        sql(
            "INSERT INTO dramatiq.queue (message_id, queue_name, state) VALUES (gen_random_uuid(), :n, :s)",
            n=name,
            s=state,
        )
    for queue, status in (("low", "running"), ("maintenance", "running"), ("maintenance", "paused")):
        make.job(status=status, queue=queue)
    started()
    started()
    job_id = started()
    started()
    ask = "SELECT evidence, sentence FROM why_jobs(:ids, true, :most)"
    for most, ahead, more in ((100, 2, False), (2, 2, False), (1, 1, True)):
        (told,) = sql(ask, ids=[job_id], most=most)
        assert {name: told["evidence"][name] for name in ("ahead", "ahead_is_more", "jobs_running")} == {
            "ahead": ahead, "ahead_is_more": more, "jobs_running": 1,
        }  # fmt: skip
        assert f": {'more than ' * more}{ahead} messages are ahead of it, 1 jobs are running there" in told["sentence"]
    (told,) = sql(ask, ids=[job_id], most=0)
    assert "ahead" not in told["evidence"]
    assert "some messages are ahead of it, some jobs" in told["sentence"]


@pytest.mark.parametrize(
    ("silent", "reason", "remedy"),
    [
        ({9: "5 s"}, "running", "None is needed"),
        ({9: "6 s"}, "silent_worker", "Start a worker that listens to maintenance"),
        ({9: "8 s"}, "silent_worker", "Start a worker that listens to maintenance"),  # it is the one that listens
        ({9: "8 s", 10: "15 s"}, "silent_worker", "Start a worker that listens to maintenance"),
        ({9: "8 s", 10: "1 s"}, "silent_worker", "It goes on by itself, at another worker, within 20 s"),
        ({9: "20 s", 10: "1 s"}, "silent_worker", "It goes on by itself, at another worker, within 20 s"),
        ({9: "20 s", 10: "20 s"}, "silent_worker", "Start a worker that listens to maintenance"),
    ],
)
def test_a_silent_worker_is_told_since_it_fell_silent_and_who_goes_on(
    silent, reason, remedy, why, make, workers_are
) -> None:
    workers_are(silent)
    job_id = make.job(status="running", worker_id=9)
    told = why(job_id)
    assert told["reason"] == reason
    assert told["remedy"].startswith(remedy)
    if reason == "silent_worker":
        seconds = int(silent[9].removesuffix(" s"))
        assert told["evidence"]["silent_seconds"] == seconds
        assert abs((datetime.now(UTC) - told["since"]).total_seconds() - seconds) < 5
        assert told["sentence"].startswith(f"Worker 9 has said nothing for {seconds} s")


@pytest.mark.parametrize(
    ("columns", "reason", "since"),
    [
        ({}, "running", "started_at"),
        ({"started_at": None}, "running", "updated_at"),
        ({"updated_at": 25}, "running", "started_at"),
        ({"updated_at": 35}, "not_moving", "updated_at"),
        ({"refusals": 9}, "running", "started_at"),
        ({"refusals": 10, "last_error": "no"}, "not_moving", "updated_at"),
        ({"waiting_for": "a lock"}, "backing_off", "updated_at"),
        ({"waiting_for": "a lock", "waits_since": 50}, "backing_off", "waits_since"),
        ({"waiting_for": "a lock", "heartbeat_at": 36}, "backing_off", "updated_at"),
        ({"waiting_for": "a lock", "heartbeat_at": 45}, "running", "started_at"),  # it would have beaten
        ({"requested": "cancel", "waiting_for": "a lock"}, "stopping", "updated_at"),
    ],
)
def test_a_running_job_is_told_since_what_holds_it_up_began(
    columns, reason, since, why, make, sql, workers_are
) -> None:
    workers_are({9: "1 s"})
    sql("SELECT watch_clock()")
    given = {"started_at": 100, "updated_at": 1, "heartbeat_at": 1, **columns}
    at = {name: seconds and ago(seconds) for name, seconds in given.items() if name.endswith(("_at", "_since"))}
    job_id = make.job(**{"status": "running", "worker_id": 9, "total": 7, **given, **at})
    told = why(job_id)
    (row,) = sql("SELECT * FROM background_jobs WHERE id = :id", id=job_id)
    assert (told["reason"], told["since"]) == (reason, row[since])
    facts = {
        "worker": 9,
        "attempt": 1,
        "processed": 0,
        "total": 7,
        "workers_listening": 1,
        "host": "dyno7",
        "process": 42,
    }
    assert facts.items() <= told["evidence"].items()
    assert datetime.fromisoformat(told["evidence"]["last_batch_at"]) == row["updated_at"]
    assert datetime.fromisoformat(told["evidence"]["heartbeat_at"]) == row["heartbeat_at"]


def test_a_row_of_refusals_is_told_since_its_first_and_not_an_earlier_one(why, make, sql, workers_are, events) -> None:
    workers_are({9: "1 s"})
    job_id = make.job(status="running", worker_id=9, refusals=10, last_error="no")
    for event in ["row_failed"] * 12 + ["claimed", "row_failed"]:
        sql(LOG, id=job_id, event=event)
    assert why(job_id)["since"] == events(job_id)[3]["at"]


LOG = "SELECT log_job_event(j, :event, 'running', 'w', 'no') FROM background_jobs j WHERE id = :id"


def test_an_older_row_of_refusals_is_not_why_a_batch_takes_long_now(why, make, sql, workers_are) -> None:
    workers_are({9: "1 s"})
    sql("SELECT watch_clock()")
    job_id = make.job(status="running", worker_id=9, refusals=2, last_error="no", updated_at=ago(40))
    for _ in range(3):
        sql(LOG, id=job_id, event="row_failed")
    told = why(job_id)
    assert (told["reason"], told["since"]) == ("not_moving", sql_updated(sql, job_id))


def test_a_request_is_told_since_it_was_made_last(why, make, sql, workers_are, events) -> None:
    workers_are({9: "1 s"})
    job_id = make.job(status="running", worker_id=9, updated_at=ago(3))
    for verb, who in (("pause", "eli"), ("resume", "eli"), ("pause", "dana")):
        sql(f"SELECT {verb}_job(:id, :who, 'month end')", id=job_id, who=who)
    told = why(job_id)
    assert (told["since"], told["evidence"]["by"], told["evidence"]["why"]) == (
        events(job_id)[-1]["at"], "dana", "month end",
    )  # fmt: skip
    assert told["sentence"] == "dana asked for a pause: it stops at the end of the batch in hand"
    assert told["remedy"].startswith("To withdraw it: POST /api/jobs/")
    sql("SELECT cancel_job(:id, 'dana')", id=job_id)
    assert why(job_id)["remedy"] == "None is needed"


def test_only_a_session_of_this_run_that_is_in_a_transaction_is_its_batch(why, make, sql, workers_are, engine) -> None:
    workers_are({9: "1 s"})
    sql("SELECT watch_clock()")
    job_id = make.job(status="running", worker_id=9, attempt=2, updated_at=ago(40))
    with engine.connect() as session:
        for attempt, is_open, is_it in ((1, True, False), (2, False, False), (2, True, True)):
            session.execute(text(f"SET application_name = 'longhaul worker, job {job_id}/{attempt}'"))
            session.commit()
            if is_open:
                session.execute(text("SELECT 1"))
            assert ("backend_pid" in why(job_id)["evidence"]) is is_it
            session.commit()
        session.invalidate()


def test_a_session_of_a_role_that_cannot_be_a_workers_is_taken_for_no_batch(
    why, make, sql, workers_are, settings
) -> None:
    role = f"longhaul_test_{secrets.token_hex(4)}"
    sql(f"CREATE ROLE {role} LOGIN")
    workers_are({9: "1 s"})
    job_id = make.job(status="running", worker_id=9, updated_at=ago(40))
    theirs = make_engine(as_role(settings.DATABASE_URL, role), application_name=f"longhaul worker, job {job_id}/1")
    try:
        with theirs.connect() as session:
            session.execute(text("SELECT 1"))
            assert "backend_pid" not in why(job_id)["evidence"]
            sql(f"GRANT UPDATE ON workers TO {role}")
            assert "backend_pid" in why(job_id)["evidence"]
    finally:
        theirs.dispose()
        sql(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_of_several_sessions_of_a_run_the_one_with_the_oldest_transaction_is_told(
    why, make, sql, workers_are, engine
) -> None:
    """As after a connection that was lost: its session may still be there."""
    workers_are({9: "1 s"})
    job_id = make.job(status="running", worker_id=9)
    with engine.connect() as one, engine.connect() as two, engine.connect() as three:
        for session in (two, one, three):
            session.execute(text(f"SET LOCAL application_name = 'longhaul worker, job {job_id}/1'"))
        pid = two.scalar(text("SELECT pg_backend_pid()"))
        assert why(job_id)["evidence"]["backend_pid"] == pid


def test_a_run_without_a_worker_is_told_as_one_that_moves(why, make) -> None:
    assert why(make.job(status="running", worker_id=None))["reason"] == "running"


def test_of_several_who_block_a_session_the_oldest_is_named(sql, engine) -> None:
    sql("CREATE TABLE held ()")
    with (
        engine.connect() as first,
        engine.connect() as second,
        engine.connect() as waiting,
        ThreadPoolExecutor() as pool,
    ):
        oldest = first.scalar(text("SELECT pg_backend_pid()"))
        for one in (second, first):  # the older one comes last to the lock
            one.execute(text("LOCK TABLE held IN SHARE MODE"))
        pid = waiting.scalar(text("SELECT pg_backend_pid()"))
        wait = pool.submit(waiting.execute, text("LOCK TABLE held"))
        blocker = "SELECT blocker_of(:pid, :for_operator) AS it"
        wait_until(lambda: sql(blocker, pid=pid, for_operator=True)[0]["it"], 30, "the wait")
        told = sql(blocker, pid=pid, for_operator=True)[0]["it"]
        everybody = sql(blocker, pid=pid, for_operator=False)[0]["it"]
        first.rollback()
        second.rollback()
        wait.result(30)
    assert told.pop("seconds") in range(30)
    idle = {"application": "test", "state": "idle in transaction", "query": "LOCK TABLE held IN SHARE MODE"}
    assert told == {"pid": oldest, **idle}
    assert set(everybody) == {"pid", "seconds"}


def test_who_blocked_the_last_try_is_named_while_its_transaction_is_open(why, make, sql, workers_are, engine) -> None:
    workers_are({9: "1 s"})
    with engine.connect() as other:
        pid = other.scalar(text("SELECT pg_backend_pid()"))
        said = f"lock timeout; blocked by the session with the pid {pid}"
        since = ago(50)
        job_id = make.job(status="running", worker_id=9, waiting_for=said, waits_since=since)
        aged = make.job(status="running", worker_id=9, waiting_for=f"{said}, whose transaction is 7 s old")
        told = why(job_id)
        assert (told["reason"], told["since"], told["evidence"]["waiting_for"]) == ("blocked", since, said)
        assert (told["evidence"]["blocker"]["pid"], why(aged)["reason"]) == (pid, "blocked")
        assert told["sentence"].startswith(f"It waits for a lock that the session with the pid {pid} holds, whose")
        assert told["remedy"].endswith(f"SELECT pg_terminate_backend({pid})")
        other.rollback()
        assert [why(one)["reason"] for one in (job_id, aged)] == ["backing_off", "backing_off"]
    no_pid = "lock timeout; blocked by the session with the pid 99999999999"
    assert why(make.job(status="running", worker_id=9, waiting_for=no_pid))["reason"] == "backing_off"


def test_an_account_is_found_by_its_number_however_large(why, mailbox, make, sql) -> None:
    sql("UPDATE connections SET id = 123456789012345678, last_error = 'slow down'")
    job_id = make.job(mailbox[0], params={"connection_id": 123456789012345678})
    told = why(job_id)["evidence"]["connection"]
    assert (told["id"], told["last_error"], told["folder"]) == (123456789012345678, "slow down", "INBOX")
    for number in ("9" * 19, "-1", ""):  # which none has
        assert "connection" not in why(make.job(params={"connection_id": number}))["evidence"]


def test_a_queue_that_is_served_speaks_for_no_other_queue(make, sql, workers_are) -> None:
    workers_are({9: "1 s"}, queues="{low}")
    served, left_alone = make.job(queue="low"), make.job()
    sql("SELECT send_job_message(id) FROM background_jobs")
    assert served
    assert sql("SELECT jobs_to_explain() AS id") == [{"id": left_alone}]


MAIL = "The mail server asks us to wait"
TEST = "POST /api/connections/5/test"
ACCOUNT = {"connection": {"id": 5}}
PLACE = {"worker": 9, "host": "dyno7", "process": 42}
RESUME = "POST /api/jobs/{id}/resume, or SELECT ops.resume_job({id}, 'your name')"
PAUSE = "POST /api/jobs/{id}/pause, or SELECT ops.pause_job({id}, 'your name')"

WORDS = [  # reason, the job's columns, evidence; what the sentence and the remedy are
    ("unknown_kind", {}, {}, "No live worker knows the kind delete_receipts",
     "Start a worker of a release that knows delete_receipts; or POST /api/jobs/{id}/cancel, or SELECT ops.cancel_job"),
    ("snoozed", {"wait_until": "2030-01-02T05:04:05+02:00", "waiting_for": "a quota"}, {},
     "It waits until 2030-01-02 03:04:05 UTC: a quota", f"It goes on by itself; to go on at once: {RESUME}"),
    ("snoozed", {}, ACCOUNT, None,
     f"It goes on by itself; to go on at once, though the server may then want more time: {RESUME}"),
    ("no_message", {"resends": 1}, {}, "No message would wake it; a live worker sends one within a second or two",
     f"It is sent one by itself; at once: {PAUSE}, then {RESUME}"),
    ("no_message", {"resends": 2}, {},
     "No message would wake it; a live worker sends one within a second or two, later after 2 of them got lost", None),
    ("no_message", {}, {"taken_by_a_stranger_at": "2030-01-01"}, None,
     f"Stop that consumer; then {PAUSE} and {RESUME} send a new message"),
    ("waiting_turn", {}, {"worker": 9}, "Worker 9 has its message and is about to begin", "None is needed"),
    ("waiting_turn", {}, {"ahead": 3, "ahead_is_more": True, "jobs_running": 2},
     "It waits its turn in maintenance: more than 3 messages are ahead of it, 2 jobs are running there",
     "It goes on by itself; more workers or WORKER_THREADS shorten the wait"),
    ("paused", {}, {"paused_by": "dana"}, "dana paused it", RESUME),
    ("read_only", {}, {"because": "of a standby", "fix": "go elsewhere"}, "Nothing can be written: of a standby",
     "go elsewhere"),
    ("silent_worker", {}, {**PLACE, "silent_seconds": 8, "workers_listening": 1},
     "Worker 9 has said nothing for 8 s; after 15 s it counts as dead, and the others take over what it held",
     "Start a worker that listens to maintenance (WORKER_QUEUES names it, or is not set). "
     "It is the process 42 on dyno7"),
    ("silent_worker", {}, {"worker": 9, "silent_seconds": 8, "workers_listening": 2}, None,
     "It goes on by itself, at another worker, within 20 s"),
    ("silent_worker", {}, {"worker": 9, "silent_seconds": 15, "workers_listening": 1}, None,
     "It goes on by itself, at another worker, within 20 s"),
    ("silent_worker", {}, {"worker": 9, "workers_listening": 1},
     "Worker 9 is dead, and the others take over what it held", "It goes on by itself, at another worker, within 20 s"),
    ("silent_worker", {}, {"worker": 9, "workers_listening": 0},
     "Worker 9 is dead, and no other listens to maintenance", None),
    ("blocked", {}, {"blocker": {"pid": 0}}, "It waits for a lock that a prepared transaction holds",
     "COMMIT PREPARED or ROLLBACK PREPARED: see pg_prepared_xacts"),
    ("blocked", {}, {"blocker": {"pid": 7}}, "It waits for a lock that the session with the pid 7 holds",
     "End that transaction there, or: SELECT pg_terminate_backend(7)"),
    ("blocked", {}, {"blocker": {"pid": 7, "seconds": 3}},
     "It waits for a lock that the session with the pid 7 holds, whose transaction is 3 s old",
     "End that transaction there, or: SELECT pg_terminate_backend(7)"),
    ("stopping", {"status": "running", "requested": "cancel"}, {},
     "Somebody asked for a cancel: it stops at the end of the batch in hand", "None is needed"),
    ("backing_off", {"waiting_for": MAIL}, ACCOUNT, f"It waits to try again: {MAIL}",
     f"It goes on by itself; what the server says to a log-in now: {TEST}"),
    ("backing_off", {"waiting_for": MAIL}, {}, None, "Fix what it waits for; it goes on by itself"),
    ("backing_off", {"waiting_for": "a lock"}, ACCOUNT, None, "Fix what it waits for; it goes on by itself"),
    ("not_moving", {"status": "running", "refusals": 10, "last_error": "no"}, {},
     "Its last 10 items were refused, one after the other: no",
     f"Fix what refuses its items (a trigger, a constraint); to stop it meanwhile: {PAUSE}"),
    ("not_moving", {}, {"worker": 9},
     "Worker 9 has its message and has not begun within 10 s: it fails to claim the job",
     "See backoff for job {id} in the log of worker 9, and fix what it names (a full disk, a trigger on job_events)"),
    ("not_moving", {}, PLACE, None, "See backoff for job {id} in the log of worker 9, the process 42 on dyno7, and"),
    ("not_moving", {"status": "running", "refusals": 9}, {"backend_pid": 7},
     "Its worker lives, but the batch in hand takes long",
     "To take the job from its worker: SELECT ops.reset_job({id}, 'your name', 'why'); then POST /api/jobs/{id}/res"),
    ("bucket_refuses", {"status": "running"}, {"attachments_failed": 2, "attachments_error": "403"},
     "The bucket refuses to delete 2 of its files: 403. The job itself is moving", "Fix the keys, the rights or the"),
    ("bucket_refuses", {"status": "completed"}, {"attachments_failed": 2},
     "The bucket refuses to delete 2 of its files: no reason is known. The job itself has ended", None),
    ("running", {"status": "running"}, {}, "It is moving", "None is needed"),
    ("listing", {"status": "running"}, {},
     "It is moving: it lists what there is to read, 0 so far; how many there are is known afterwards", "None is"),
    ("needs_reconnect", {"status": "failed", "last_error": "no"}, ACCOUNT,
     "It failed, because the connection has to be made anew: no",
     f"Let the account accept the password again, and {TEST} says so; then {RESUME}. With another password: DEL"),
    ("needs_reconnect", {"status": "failed"}, {}, None, f"Connect the account anew; then {RESUME}"),
    ("failed", {"status": "failed"}, {}, "It failed: for no known reason", f"Fix that; then {RESUME}"),
    ("failed", {"status": "failed", "last_error": MAIL}, ACCOUNT, f"It failed: {MAIL}",
     f"{TEST} says whether the server answers; then {RESUME}"),
    ("failed", {"status": "failed", "last_error": "boom"}, ACCOUNT, "It failed: boom", f"Fix that; then {RESUME}"),
    ("failed", {"status": "failed", "last_error": MAIL}, {}, None, f"Fix that; then {RESUME}"),
    ("completed_with_failures", {"status": "completed", "processed": 3, "failed_count": 3}, {},
     "It is completed, but 3 items were refused; the last: for no known reason",
     "See the events row_failed: GET /api/jobs/{id}/events. Fix them; then the call in links.retry of GET /api/jobs"),
    ("ended", {"status": "completed"}, {"by": "worker:9"}, "It has ended: completed", "None is needed"),
    ("ended", {"status": "cancelled"}, {"by": "dana"}, "It has ended: cancelled by dana", "None is needed"),
    ("ended", {"status": "cancelled"}, {}, "It has ended: cancelled", "None is needed"),
]  # fmt: skip


def test_what_is_said_and_advised_fits_what_was_found(make, sql) -> None:
    for reason, columns, evidence, sentence, remedy in WORDS:
        job_id = make.job(**columns)
        (told,) = sql(
            """SELECT why_sentence(j, :reason, CAST(:evidence AS jsonb)) AS sentence,
                      why_remedy(j, :reason, CAST(:evidence AS jsonb)) AS remedy
               FROM background_jobs j WHERE id = :id""",
            reason=reason, evidence=json.dumps(evidence), id=job_id,
        )  # fmt: skip
        if sentence is not None:
            assert told["sentence"] == sentence
        if remedy is not None:
            advised = remedy.format(id=job_id)
            assert told["remedy"][: len(advised)] == advised
