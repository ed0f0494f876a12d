"""The receipt sync on a real IMAP server, with what other people's mail importers got wrong.

- paperless-ngx#13175, no receipt, fetched at every run: test_a_mail_that_was_decided_is_not_fetched_again
- #9436, a run starts beside the last: test_a_second_sync_of_a_mailbox_is_refused_while_the_first_is_active
- #10080, a UID without its UIDVALIDITY skips mail: test_a_new_mail_with_a_low_number_under_a_new_uidvalidity_is_read
- #8329, storage away, the mail marked as done: test_a_bucket_that_is_away_marks_no_mail_as_done_and_it_is_read_later
- #2396, a mail deleted before its document is stored: test_a_sync_deletes_moves_and_marks_nothing_in_the_mailbox
- gbrain#4959, rate limits count as failures: test_a_server_that_throttles_puts_the_job_back_and_fails_no_mail
- relaticle#610, an error of listing spoils the account: test_an_error_of_listing_leaves_the_connection_as_it_is
- nextcloud/mail#2979, numbered anew midway: test_a_change_of_uidvalidity_in_the_middle_of_the_first_sync_costs_nothing
"""

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from hashlib import sha256
from itertools import count
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from actors.mail import large, reading
from actors.mail.connection import MailSettings
from actors.mail.errors import ThrottledError, UnreachableError, of_answer
from actors.mail.imap import ImapMailbox
from actors.mail.listing import RENUMBER
from actors.mail.wire import Server
from actors.outside.vault import Vault
from actors.runtime.base.storage import Bucket
from actors.runtime.jobs.context import JobContext
from actors.runtime.jobs.kinds import MissingError, RefusedError
from actors.runtime.jobs.perform import perform
from actors.runtime.jobs.start import JobActiveError, read_params, start
from actors.runtime.jobs.testing import go_on, run_kind
from actors.runtime.jobs.verdicts import Snooze
from actors.sync_receipts import sync_receipts
from service.local.processes import wait_until
from service.local.seed import PDF
from tests.actors.mail.hostile import dripping, endless, hostile, silent, until_uid
from tests.actors.mail.impaired import DROP, Impaired
from tests.service.conftest import changed

MOMENT = datetime(2025, 6, 15, 12, tzinfo=UTC)


def mail(number: int, subject: str = "Your receipt", body: str = "", pdf: bytes = b"", day: datetime = MOMENT) -> bytes:
    message = EmailMessage()
    message["From"], message["Subject"] = "Night Owl Taxi <receipts@nightowl.example>", subject
    message["Message-ID"], message["Date"] = f"<{number}@nightowl.example>", day
    message.set_content(body or f"Total: ${number}.50\n")
    if pdf:
        message.add_attachment(pdf, maintype="application", subtype="pdf", filename="receipt.pdf")
    return message.as_bytes()


def at(number: int) -> datetime:
    return MOMENT + timedelta(days=number)


@pytest.fixture
def here(settings, connecting):
    return changed(settings, **connecting, MAX_BATCH_FAILURES=1)


@pytest.fixture
def connect(mails, sql, make, here) -> Callable[..., tuple[int, int]]:
    """connect(): a business and its connection to the mailbox."""

    def new(business_id: int = 0, **changes: Any) -> tuple[int, int]:
        business_id = business_id or make.business()
        where = MailSettings(**{**mails.params, **changes})
        secret = Vault(here).seal(business_id, {"password": mails.password})
        (row,) = sql(
            """INSERT INTO connections (business_id, provider, account, settings, secret)
               VALUES (:b, 'imap', :user, CAST(:settings AS jsonb), :secret) RETURNING id""",
            b=business_id, user=mails.user, settings=where.model_dump_json(), secret=secret,
        )  # fmt: skip
        return business_id, row["id"]

    return new


@pytest.fixture
def sync(engine, here):
    return lambda business_id, **params: run_kind(sync_receipts, engine, here, business_id, params)


@pytest.fixture
def states(sql):
    return lambda: [
        (row["state"], row["reason"]) for row in sql("SELECT state, reason FROM mail_messages ORDER BY uid")
    ]


def counted(job: dict[str, Any]) -> tuple[str, int, int, int]:
    return job["status"], job["total"], job["succeeded"], job["failed_count"]


def test_a_mailbox_of_receipts_and_others_is_read_each_once_with_its_file(mails, connect, sync, sql, bucket) -> None:
    mails.fill([(mail(1), at(1)), (mail(2, pdf=PDF), at(2)), (mail(3, "Lunch?", "see you"), at(3))])
    business_id, connection_id = connect()
    job = sync(business_id)
    assert counted(job) == ("completed", 3, 3, 0)
    assert job["stats"]["saved_receipts"] == 2
    rows = sql("SELECT vendor, amount::text, currency, source FROM receipts ORDER BY amount")
    assert [(row["vendor"], row["amount"], row["source"]) for row in rows] == [
        ("Night Owl Taxi", "1.50", "mail"),
        ("Night Owl Taxi", "2.50", "mail"),
    ]
    files = sql("SELECT content_type, object_key, size, receipt_id FROM attachments ORDER BY id")
    assert [file["content_type"] for file in files] == ["message/rfc822", "application/pdf"]
    assert sorted(bucket.keys()) == sorted(file["object_key"] for file in files)
    assert all(file["receipt_id"] and file["size"] for file in files)
    assert sql("SELECT last_uid FROM connections WHERE id = :id", id=connection_id) == [{"last_uid": 103}]


def test_a_mail_that_cannot_be_judged_is_passed_over_once(mails, connect, sync, states, monkeypatch) -> None:
    """Its batch has announced where to go on after it: otherwise it would be met again and again."""

    class OutOfRangeError(ValueError):
        pgcode = "22003"

    judge = reading._judge

    def refuses(row: Any, read: Any) -> Any:
        if b"<2@nightowl.example>" in read[0]:
            raise OutOfRangeError
        return judge(row, read)

    monkeypatch.setattr(reading, "_judge", refuses)
    mails.fill([(mail(number), at(number)) for number in range(1, 5)])
    business_id, _ = connect()
    assert counted(sync(business_id)) == ("completed", 4, 3, 1)
    assert [state for state, _ in states()] == ["receipt", "pending", "receipt", "receipt"]


def test_mails_that_take_long_to_read_do_not_keep_the_job_from_its_checkpoints(
    mails, connect, sync, states, monkeypatch
) -> None:
    """20 of them, of 10 s each, would look like a job that does not move."""
    monkeypatch.setattr("actors.mail.reading.LONG_SECONDS", 0)
    mails.fill([*((mail(number), at(number)) for number in range(1, 6)), (mail(6, "Lunch?", "see you"), at(6))])
    business_id, _ = connect()
    with capture_logs() as lines:
        job = sync(business_id)
    assert counted(job) == ("completed", 6, 6, 0)
    assert [state for state, _ in states()] == ["receipt"] * 5 + ["not_receipt"]
    done = [line for line in lines if line["event"] == "batch.done" and line["first"] is not None]
    assert [line["processed"] for line in done] == [1, 2, 3, 4, 5, 6]


def test_a_mail_that_was_decided_is_not_fetched_again(mails, connect, sync, monkeypatch) -> None:
    mails.fill([(mail(1), at(1)), (mail(2, "Lunch?", "see you"), at(2))])
    business_id, _ = connect()
    sync(business_id)
    monkeypatch.setattr(ImapMailbox, "fetch", lambda *_arguments: pytest.fail("it was fetched again"))
    assert counted(sync(business_id)) == ("completed", 0, 0, 0)
    assert counted(sync(business_id, mode="full")) == ("completed", 0, 0, 0)


def test_while_a_batch_is_stored_the_next_is_fetched(mails, connect, sync, monkeypatch) -> None:
    mails.fill([(mail(n, pdf=PDF + bytes(n)), at(n)) for n in range(1, 42)])
    business_id, _ = connect()
    fetch, put, calls, second = ImapMailbox.fetch, Bucket.put, [], Event()

    def noted(mailbox, uids, *limits):
        calls.append(uids)
        if len(calls) == 2:
            second.set()
        return fetch(mailbox, uids, *limits)

    def put_late(*arguments):
        assert second.wait(30), "the first batch is stored, and the second is not fetched meanwhile"
        return put(*arguments)

    monkeypatch.setattr(ImapMailbox, "fetch", noted)
    monkeypatch.setattr(Bucket, "put", put_late)
    assert counted(sync(business_id)) == ("completed", 41, 41, 0)


def test_an_incremental_sync_reads_what_came_since(mails, connect, sync) -> None:
    mails.fill([(mail(1), at(1))])
    business_id, _ = connect()
    sync(business_id)
    mails.fill([(mail(2), at(2)), (mail(3), at(3))])
    assert counted(sync(business_id)) == ("completed", 2, 2, 0)


def test_a_range_reads_its_days_only_and_moves_no_position(mails, connect, sync, sql) -> None:
    mails.fill([(mail(n), at(n)) for n in range(1, 6)])
    business_id, _ = connect()
    job = sync(business_id, mode="range", fromDate=str(at(2).date()), toDate=str(at(3).date()))
    assert counted(job) == ("completed", 2, 2, 0)
    assert counted(sync(business_id)) == ("completed", 3, 3, 0)
    assert sql("SELECT count(*) AS n FROM receipts") == [{"n": 5}]


FORWARD = """FYI, Dana

---------- Forwarded message ---------
From: Night Owl Taxi <receipts@nightowl.example>
Date: {:%a, %b %d, %Y} at 4:40 PM
Subject: Your receipt

Total: $9.00
"""


@pytest.mark.parametrize(
    ("first", "second", "days", "same"),
    [
        ("Total: $9.00", "Total: $9.00", 1, True),
        ("Total: $9.00", "Total: $9.00", 30, False),  # as a subscription's, with the shop's terms
        ("Date: 2025-06-01\nTotal: $9.00", "Date: 2025-06-01\nTotal: $9.00", 30, True),
        ("Date: 2025-06-14\nTotal: $9.00", "Date: 2025-06-15\nTotal: $9.00", 1, False),
        ("Invoice no. 71\nTotal: $9.00", "Invoice no. 71\nTotal: $9.00", 30, True),
        ("Invoice no. 71\nTotal: $9.00", "Invoice no. 72\nTotal: $9.00", 0, False),
        ("Order #5: 2025-06-01\nTotal: $9.00", "Order #6: 2025-06-01\nTotal: $9.00", 0, False),
        ("Total: $9.00", "Total: $8.00", 0, False),
        ("Total: $9.00", FORWARD.format(at(0)), 20, True),
        ("Date: 2025-06-14\nTotal: $9.00", FORWARD.format(at(0)).replace("Total", "Date: 2025-06-14\nTotal"), 20, True),
    ],
)  # fmt: skip
def test_the_same_file_is_a_duplicate_by_its_total_and_its_number_or_day(
    mails, connect, sync, states, first, second, days, same
) -> None:
    subject = "Fwd: Your receipt" if "Forwarded" in second else "Your receipt"
    mails.fill([
        (mail(1, body=first, pdf=PDF), at(0)),
        (mail(2, subject, second, pdf=PDF, day=at(days)), at(days)),
    ])  # fmt: skip
    business_id, _ = connect()
    assert counted(sync(business_id)) == ("completed", 2, 2, 0)
    kept = ("receipt", "receipt" if "8.00" in second else "same_file")
    assert states() == [("receipt", "receipt"), ("duplicate", "same_receipt") if same else kept]


def test_what_has_one_file_and_one_total_without_end_is_not_stored_without_end(
    mails, connect, sync, states, monkeypatch
) -> None:
    monkeypatch.setattr("actors.mail.storing.MOST_ALIKE", 2)
    bodies = [f"Invoice no. {number}\nTotal: $9.00" for number in (71, 72, 73, 71)]
    mails.fill([(mail(n, body=body, pdf=PDF), at(0)) for n, body in enumerate(bodies, 1)])
    business_id, _ = connect()
    assert counted(sync(business_id)) == ("completed", 4, 3, 1)
    kept = [("receipt", "receipt"), ("receipt", "same_file")]
    assert states() == [*kept, ("unreadable", "too_many_alike"), ("duplicate", "same_receipt")]


def test_two_mails_without_a_message_id_and_with_one_file_are_two_receipts(mails, connect, sync, sql) -> None:
    raw = mail(1, pdf=PDF).replace(b"Message-ID: <1@nightowl.example>\n", b"")
    mails.fill([(raw, at(1)), (raw.replace(b"Total: $1.50", b"Total: $7.00"), at(40))])
    business_id, _ = connect()
    sync(business_id)
    assert sql("SELECT count(*) AS n FROM receipts") == [{"n": 2}]


WITHOUT_ID = b"From: \xe9 <a@x.example>\r\nFrom: \xe8 <b@x.example>\r\nSubject: Your receipt\r\n\r\nTotal: $9.50\r\n"


def test_a_mail_with_headers_that_are_no_text_costs_itself(mails, connect, sync, sql) -> None:
    mails.fill([(mail(1), at(1)), (WITHOUT_ID, at(2)), (mail(3), at(3))])
    business_id, _ = connect()
    job = sync(business_id)
    assert (counted(job), job["last_error"]) == (("completed", 3, 3, 0), None)
    assert {"1.50", "3.50"} <= {row["amount"] for row in sql("SELECT amount::text FROM receipts")}


def test_a_copy_in_another_mailbox_of_the_business_is_a_duplicate(mails, connect, sync, states, sql) -> None:
    mails.fill([(mail(1), at(1))])
    business_id, first = connect()
    _, second = connect(business_id)
    sync(business_id, connection_id=first)
    sync(business_id, connection_id=second)
    assert states() == [("receipt", "receipt"), ("duplicate", "same_receipt")]
    assert sql("SELECT count(*) AS n FROM receipts") == [{"n": 1}]


def test_a_forged_message_id_does_not_suppress_an_invoice(mails, connect, sync, sql) -> None:
    mails.fill([(mail(7, body="Total: $1.00"), at(1)), (mail(7, body="Total: $1,007.00"), at(2))])
    business_id, _ = connect()
    sync(business_id)
    assert sql("SELECT count(*) AS n FROM receipts") == [{"n": 2}]


def test_a_receipt_that_was_deleted_stays_deleted(mails, connect, sync, sql, states) -> None:
    mails.fill([(mail(1), at(1))])
    business_id, _ = connect()
    sync(business_id)
    sql("UPDATE receipts SET is_deleted = true, deleted_at = now()")
    sql("DELETE FROM mail_messages")
    assert counted(sync(business_id, mode="full")) == ("completed", 1, 1, 0)
    assert states() == [("duplicate", "same_receipt")]
    assert sql("SELECT is_deleted FROM receipts") == [{"is_deleted": True}]


def test_mails_that_the_server_has_numbered_anew_are_known_again(mails, connect, sync, sql) -> None:
    mails.fill([(mail(n), at(n)) for n in range(1, 4)])
    business_id, _ = connect()
    sync(business_id)
    mails.stop()
    mails.start()  # its mailbox is in memory: it comes back under another UIDVALIDITY
    mails.fill([(mail(n), at(n)) for n in range(1, 6)])
    assert counted(sync(business_id)) == ("completed", 2, 2, 0)
    assert sql("SELECT count(*) AS n FROM mail_messages") == [{"n": 5}]
    assert sql("SELECT count(*) AS n FROM receipts") == [{"n": 5}]


def test_a_new_mail_with_a_low_number_under_a_new_uidvalidity_is_read(mails, connect, sync, sql) -> None:
    mails.fill([(mail(n), at(n)) for n in range(1, 4)])
    business_id, _ = connect()
    sync(business_id)
    mails.stop()
    mails.start()  # its mailbox is in memory: it comes back under another UIDVALIDITY
    mails.fill([(mail(7), at(7))])
    assert counted(sync(business_id)) == ("completed", 1, 1, 0)
    assert sql("SELECT count(*) AS n FROM receipts WHERE amount = 7.50") == [{"n": 1}]


def test_a_change_of_uidvalidity_in_the_middle_of_the_first_sync_costs_nothing(
    mails, connect, sync, sql, engine, here, monkeypatch
) -> None:
    everything = [(mail(n), at(n)) for n in range(1, 46)]
    mails.fill(everything)
    business_id, _ = connect()
    fetch, calls = ImapMailbox.fetch, []

    def once(mailbox, uids, *limits):
        calls.append(uids)
        if len(calls) == 2:
            mails.stop()
            mails.start()
            mails.fill(everything)
            raise UnreachableError("the connection broke")
        return fetch(mailbox, uids, *limits)

    monkeypatch.setattr(ImapMailbox, "fetch", once)
    job = sync(business_id)
    assert job["status"] == "failed"
    sql("SELECT resume_job(:id, 'dana')", id=job["id"])
    assert counted(go_on(sync_receipts, engine, here, job["id"])) == ("completed", 45, 45, 0)
    assert sql("SELECT count(DISTINCT source_id) AS n, count(*) AS m FROM receipts") == [{"n": 45, "m": 45}]


def test_a_server_that_numbers_its_folder_anew_at_each_log_in_ends_its_sync(
    mails, connect, sync, sql, engine, here, monkeypatch
) -> None:
    """Each list is progress, so neither failures nor waits would add up."""
    mails.fill([(mail(1), at(1))])
    business_id, _ = connect()
    examine, numbers = ImapMailbox._examine, count(1)

    def anew(mailbox):
        return replace(examine(mailbox), uidvalidity=next(numbers))

    def throttled(_mailbox, _uids, *_limits):
        raise ThrottledError("try again in 1 sec", 1)

    monkeypatch.setattr(ImapMailbox, "_examine", anew)
    monkeypatch.setattr(ImapMailbox, "fetch", throttled)
    job = sync(business_id)
    for _ in range(15):
        if job["status"] == "failed":
            break
        sql("UPDATE background_jobs SET wait_until = NULL")
        job = go_on(sync_receipts, engine, here, job["id"])
    assert (job["status"], job["error_code"], job["attempt"]) == ("failed", "renumbered", 12)


def test_a_list_that_the_release_before_began_goes_on(mails, connect, make, engine, here) -> None:
    mails.fill([(mail(n), at(n)) for n in (1, 2, 3)])
    business_id, connection_id = connect()
    with closing(
        ImapMailbox(Server("127.0.0.1", mails.port, "none", private_allowed=True), mails.user, mails.password)
    ) as mailbox:
        position = mailbox.position()
    begun = {"phase": "list", "uidvalidity": position.uidvalidity, "after": 0, "until": position.last_uid, "pages": 0}
    params = {"connection_id": connection_id, "mode": "incremental"}
    job_id = make.job(business_id, "queued", job_type="sync_receipts", queue="receipts_sync", actor="sync_receipts",
                      key=str(connection_id), params=params, cursor=begun, attempt=1)  # fmt: skip
    assert counted(go_on(sync_receipts, engine, here, job_id)) == ("completed", 3, 3, 0)


def test_mails_that_all_look_the_same_cost_a_page_no_more_than_it_is_long(connect, sql, engine) -> None:
    business_id, connection_id = connect()
    sql("""INSERT INTO mail_messages (connection_id, business_id, uidvalidity, uid, message_hash, received_at, size)
           SELECT :c, :b, 1, n, sha256('x'), now(), 5 FROM generate_series(1, 20000) AS n;
           ANALYZE mail_messages""", c=connection_id, b=business_id)  # fmt: skip
    values = {"connection_id": connection_id, "business_id": business_id, "uidvalidity": 2}
    page = {"uids": list(range(1, 201)), "hashes": [sha256(b"x").digest()] * 200}
    with engine.connect() as session:
        explain = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {RENUMBER.text}")
        (found,) = session.execute(explain, {**values, **page}).scalar_one()
    thrown_away = [int(number) for number in re.findall(r"'Rows Removed by Join Filter': ([0-9]+)", str(found))]
    assert sum(thrown_away) <= 200 * 200


def test_a_mail_deleted_between_list_and_fetch_is_unreadable_and_the_rest_goes_on(
    mails, connect, sync, states, monkeypatch
) -> None:
    mails.fill([(mail(n), at(n)) for n in range(1, 4)])
    business_id, _ = connect()
    fetch = ImapMailbox.fetch
    without = lambda mailbox, uids, *limits: fetch(mailbox, [uid for uid in uids if uid != 102], *limits)  # noqa: E731
    monkeypatch.setattr(ImapMailbox, "fetch", without)
    assert counted(sync(business_id)) == ("completed", 3, 2, 1)
    assert states()[1] == ("unreadable", "gone")


@pytest.fixture
def impaired(mails) -> Iterator[Impaired]:
    between = Impaired(mails.port)
    yield between
    between.close()


@pytest.mark.parametrize("fault", [DROP, "NO [SERVERBUG] Internal error occurred", "BAD what?"])
def test_a_mail_that_cannot_be_fetched_costs_itself(
    mails, impaired, connect, engine, here, states, sql, monkeypatch, fault
) -> None:
    monkeypatch.setattr("actors.runtime.jobs.backoff.backoff_seconds", lambda _failures: 0.05)
    mails.fill([(mail(n), at(n)) for n in range(1, 6)])
    business_id, _ = connect(port=impaired.port)
    impaired.rule = lambda command: fault if "PEEK[]" in command and includes(command, 103) else None
    patient = changed(here, MAX_BATCH_FAILURES=5)
    assert counted(run_kind(sync_receipts, engine, patient, business_id)) == ("completed", 5, 4, 1)
    read, bad = ("receipt", "receipt"), ("unreadable", "cannot_be_fetched")
    assert states() == [read, read, bad, read, read]
    alone = [command for command in impaired.commands if "UID FETCH 103 (BODY.PEEK[])" in command]
    assert len(alone) == (4 if fault != DROP else 3)  # a refusal is asked for alone in the first try, too
    impaired.rule = lambda _command: None
    assert counted(run_kind(sync_receipts, engine, here, business_id, {"mode": "full"})) == ("completed", 1, 1, 0)
    assert sql("SELECT sum(fetch_failures) AS n FROM mail_messages WHERE uid = 103") == [{"n": 0}]


def includes(command: str, uid: int) -> bool:
    """Is this uid among those of a UID FETCH?"""
    ranges = [one.partition(":") for one in command.split()[2].split(",")]
    return any(int(first) <= uid <= int(last or first) for first, _, last in ranges)


def test_a_sync_deletes_moves_and_marks_nothing_in_the_mailbox(mails, impaired, connect, sync) -> None:
    mails.fill([(mail(1), at(1)), (mail(2, "Lunch?", "see you"), at(2))])
    business_id, _ = connect(port=impaired.port)
    sync(business_id)
    verbs = {command.removeprefix("UID ").split()[0] for command in impaired.commands if command}
    assert verbs <= {"CAPABILITY", "LOGIN", "AUTHENTICATE", "EXAMINE", "SEARCH", "FETCH", "LOGOUT"}, verbs
    assert all("PEEK" in command for command in impaired.commands if "BODY" in command)
    client = mails.client()
    client.select("INBOX")
    assert client.search(None, "UNSEEN")[1] == [b"1 2"]
    client.logout()


def test_a_server_that_is_away_is_no_failure_of_its_mails(mails, impaired, connect, sync, sql) -> None:
    mails.fill([(mail(1), at(1))])
    business_id, _ = connect(port=impaired.port)
    impaired.rule = lambda command: DROP if command.startswith(("LOGIN", "AUTHENTICATE")) else None
    assert sync(business_id)["status"] == "failed"
    mails.stop()
    assert sync(business_id)["status"] == "failed"
    assert sql("SELECT coalesce(sum(fetch_failures), 0) AS n FROM mail_messages") == [{"n": 0}]


def test_a_bucket_that_is_away_marks_no_mail_as_done_and_it_is_read_later(
    mails, connect, sync, states, sql, engine, here, monkeypatch
) -> None:
    mails.fill([(mail(1), at(1))])
    business_id, _ = connect()
    put = Bucket.put

    def away(*_arguments: object) -> None:
        raise TimeoutError("the bucket is away")

    monkeypatch.setattr(Bucket, "put", away)
    job = sync(business_id)
    assert job["status"] == "failed"
    assert states() == [("pending", None)]
    monkeypatch.setattr(Bucket, "put", put)
    sql("SELECT resume_job(:id, 'dana')", id=job["id"])
    assert counted(go_on(sync_receipts, engine, here, job["id"])) == ("completed", 1, 1, 0)
    (left,) = sql("SELECT count(*) AS n FROM attachments WHERE receipt_id IS NULL AND purge_after IS NOT NULL")
    assert left["n"] == 1  # of the first try; the outbox collects it


def test_a_file_that_was_collected_before_its_receipt_is_uploaded_again(
    mails, connect, sync, sql, engine, here
) -> None:
    mails.fill([(mail(1), at(1))])
    business_id, _ = connect()
    sql("""CREATE FUNCTION collect() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN UPDATE attachments SET purge_attempts = 1 WHERE receipt_id IS NULL; RETURN NEW; END $$""")
    sql("CREATE TRIGGER collect BEFORE INSERT ON receipts FOR EACH ROW EXECUTE FUNCTION collect()")
    job = sync(business_id)
    assert job["status"] == "failed"
    assert "uploaded again" in job["last_error"]
    sql("DROP TRIGGER collect ON receipts")
    sql("SELECT resume_job(:id, 'dana')", id=job["id"])
    assert counted(go_on(sync_receipts, engine, here, job["id"])) == ("completed", 1, 1, 0)


def test_a_server_that_throttles_puts_the_job_back_and_fails_no_mail(mails, connect, sync, states, monkeypatch) -> None:
    mails.fill([(mail(1), at(1))])
    business_id, _ = connect()

    def throttled(*_arguments: object) -> None:
        raise ThrottledError("The mail server asks us to wait", 300, "'slow down, dana'")

    monkeypatch.setattr(ImapMailbox, "fetch", throttled)
    job = sync(business_id)
    assert (job["status"], job["waiting_for"]) == ("queued", "The mail server asks us to wait")
    assert job["failed_count"] == 0
    assert states() == [("pending", None)]


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ({"host": "mail.secret.invalid"}, "The mail server's host was not found"),
        ({"folder": "Secret/Takeover"}, "The mail server does not open the folder of this connection"),
    ],
)
def test_a_job_names_nothing_of_its_connection_which_not_every_member_may_see(
    where, told, connect, sync, events
) -> None:
    business_id, _ = connect(**where)
    with capture_logs() as lines:
        job = sync(business_id)
    assert told in job["last_error"]
    assert "secret" not in str([job["last_error"], job["waiting_for"], events(job["id"])]).casefold()
    assert any("secret" in str(line.get("error")).casefold() for line in lines)  # an operator has to know


def test_what_a_mail_server_says_is_not_repeated_in_a_job(mails, connect, sync, monkeypatch) -> None:
    mails.fill([(mail(1), at(1))])
    business_id, _ = connect()

    def refused(*_arguments: object) -> None:
        raise of_answer(b"[NOPERM] dana@secret.example may not")

    monkeypatch.setattr(ImapMailbox, "page", refused)
    job = sync(business_id)
    assert job["last_error"] == "1 failures in a row, the last: The mail server refuses a command"


def test_an_error_of_listing_leaves_the_connection_as_it_is(mails, connect, sync, sql, monkeypatch) -> None:
    business_id, _ = connect()
    mails.fill([(mail(1), at(1))])

    def broken(*_arguments: object) -> None:
        raise UnreachableError("The connection to the mail server failed")

    monkeypatch.setattr(ImapMailbox, "page", broken)
    assert sync(business_id)["status"] == "failed"
    assert sql("SELECT status FROM connections") == [{"status": "connected"}]


def test_a_refused_password_fails_the_job_at_once_and_marks_the_connection(mails, connect, sync, sql) -> None:
    business_id, _ = connect()
    mails.stop()
    mails.password = "another-one"
    mails.start()
    job = sync(business_id)
    assert (job["status"], job["error_code"]) == ("failed", "needs_reconnect")
    assert sql("SELECT status FROM connections") == [{"status": "needs_reconnect"}]
    with pytest.raises(RefusedError, match="connect the mailbox anew"):
        sync(business_id)


def test_a_second_sync_of_a_mailbox_is_refused_while_the_first_is_active(connect, sync, make) -> None:
    business_id, connection_id = connect()
    _, other = connect(business_id)
    make.job(business_id, job_type="sync_receipts", key=str(connection_id))
    with pytest.raises(JobActiveError):
        sync(business_id, connection_id=connection_id)
    assert sync(business_id, connection_id=other)["status"] == "completed"
    with pytest.raises(RefusedError, match="say which"):
        sync(business_id)


def test_a_business_without_a_mailbox_is_told_to_connect_one(make, sync) -> None:
    with pytest.raises(MissingError, match="connect a mailbox first"):
        sync(make.business())


def test_another_businesss_mailbox_is_not_found(connect, sync, make) -> None:
    _, connection_id = connect()
    with pytest.raises(MissingError, match=f"Connection {connection_id} was not found"):
        sync(make.business(), connection_id=connection_id)


@pytest.mark.parametrize("behave", [silent, dripping, endless(b"* X " + b"a" * 900_000 + b"\r\n")])
def test_a_log_in_that_is_given_up_leaves_no_connection_behind(connect, sync, monkeypatch, behave) -> None:
    monkeypatch.setattr("actors.mail.sync.LOG_IN_SECONDS", 4)  # enough to connect on a busy machine
    monkeypatch.setattr("actors.mail.line.SILENCE_SECONDS", 90)
    with hostile(behave) as server:
        business_id, _ = connect(port=server.port)
        assert sync(business_id)["status"] == "failed"
        assert server.hung_up.wait(30)
        assert server.sent < 20_000_000  # most of it is in the buffers of the sockets


@pytest.mark.parametrize("behave", [silent, until_uid(silent), until_uid(dripping)])
def test_a_job_that_is_told_to_stop_leaves_no_connection_behind(
    connect, engine, here, sql, behave, monkeypatch
) -> None:
    for limit in ("sync.LOG_IN_SECONDS", "line.SILENCE_SECONDS", "imap.LIST_SECONDS"):  # none of these ends it
        monkeypatch.setattr(f"actors.mail.{limit}", 90)
    with hostile(behave) as server:
        business_id, _ = connect(port=server.port)
        stopping = Event()
        place = JobContext(engine, here, lambda: 0, stopping, lambda: None)
        with engine.begin() as connection:
            params = read_params(sync_receipts, {})
            started = start(connection, sync_receipts, here, business_id, params, who="test")
        thread = Thread(target=perform, args=(started.job_id, sync_receipts, place))
        thread.start()
        assert server.accepted.wait(30)
        wait_until(lambda: behave is silent or b"UID" in server.heard, 30, "the first search")
        stopping.set()
        assert server.hung_up.wait(30)
        thread.join()
    assert sql("SELECT status FROM background_jobs") == [{"status": "queued"}]


def test_a_password_that_the_server_repeats_is_in_no_row_and_no_line(connect, sync, sql, caplog, capsys, here) -> None:
    planted = 'pass "planted" word\\'

    def refuse(server, connection) -> None:
        server.say(connection, b"* OK ready\r\n")
        for line in connection.makefile("rb"):
            tag, command = line.split()[:2]
            said = b"* CAPABILITY IMAP4rev1\r\n" + tag + b" OK done\r\n"
            server.say(connection, tag + b" NO bad: " + line if command == b"LOGIN" else said)

    with hostile(refuse) as server:
        business_id, _ = connect(port=server.port)
        secret = Vault(here).seal(business_id, {"password": planted})
        sql("UPDATE connections SET secret = :secret", secret=secret)
        job = sync(business_id)
    assert (job["status"], job["error_code"]) == ("failed", "needs_reconnect")
    tables = sql("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")
    dump = str([sql(f"SELECT t::text AS row FROM {table['name']} t") for table in tables])
    assert "refuses the log-in" in dump
    assert "planted" not in dump + caplog.text + str(capsys.readouterr())


def test_a_large_mail_waits_for_room_in_memory_and_its_job_for_no_thread(
    mails, connect, sync, sql, states, engine, here, monkeypatch
) -> None:
    mails.fill([(mail(n, pdf=PDF * (n == 2) * 100), at(n)) for n in range(1, 4)])
    business_id, _ = connect()
    monkeypatch.setattr(reading, "BATCH_BYTES", 10_000)
    monkeypatch.setattr(large, "PATIENCE_SECONDS", 0)
    with large.room_for_large(SimpleNamespace(business_id=business_id)):
        job = sync(business_id)
        assert (job["status"], job["waiting_for"]) == ("queued", "other large mails are being read")
        assert [state for state, _ in states()] == ["receipt", "pending", "pending"]
    sql("UPDATE background_jobs SET wait_until = now()")
    job = go_on(sync_receipts, engine, here, job["id"])
    assert counted(job) == ("completed", 3, 3, 0)
    assert large._reading == set()


def run_of(business_id: int) -> Any:
    def snooze(seconds: float, sentence: str) -> None:
        raise Snooze(seconds, sentence)

    return SimpleNamespace(business_id=business_id, snooze=snooze)


def test_who_was_refused_room_for_a_large_mail_comes_before_who_had_it(monkeypatch) -> None:
    monkeypatch.setattr(large, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(large, "_refused", {})
    with large.room_for_large(run_of(1)):
        with large.room_for_large(run_of(2)), pytest.raises(Snooze), large.room_for_large(run_of(3)):
            pass
        with pytest.raises(Snooze), large.room_for_large(run_of(2)):
            pass  # its next mail
        with large.room_for_large(run_of(3)):
            pass
        with large.room_for_large(run_of(2)):
            pass
    with pytest.raises(Snooze), large.room_for_large(run_of(1)), large.room_for_large(run_of(1)):
        pass
    monkeypatch.setattr(large, "FORGET_SECONDS", 0)
    with large.room_for_large(run_of(4)), large.room_for_large(run_of(5)):
        pass  # who does not come back keeps nobody waiting


def test_a_place_that_is_free_is_taken_by_one_that_may(monkeypatch) -> None:
    """Others that wait, and may not take it, are awake too."""
    monkeypatch.setattr(large, "PATIENCE_SECONDS", 30)
    monkeypatch.setattr(large, "_refused", {})
    entered, may_leave = Event(), Event()

    def enter(business_id: int) -> None:
        with large.room_for_large(run_of(business_id)):
            if business_id == 3:
                entered.set()
            may_leave.wait(30)

    with large.room_for_large(run_of(1)):
        with large.room_for_large(run_of(2)):
            threads = [Thread(target=enter, args=(business_id,)) for business_id in (1, 3)]
            for number, thread in enumerate(threads, 1):
                thread.start()
                wait_until(lambda n=number: len(large._changed._waiters) == n, 30, "it to wait")  # type: ignore[attr-defined, misc]
        assert entered.wait(20)
    may_leave.set()
    for thread in threads:
        thread.join()


def test_two_large_mails_are_in_memory_at_once_and_one_of_a_business(monkeypatch) -> None:
    monkeypatch.setattr(large, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(large, "_refused", {})
    with large.room_for_large(run_of(1)):
        with pytest.raises(Snooze), large.room_for_large(run_of(1)):
            pass
        with large.room_for_large(run_of(2)), pytest.raises(Snooze), large.room_for_large(run_of(3)):
            pass
        with pytest.raises(ZeroDivisionError), large.room_for_large(run_of(3)):
            1 / 0  # noqa: B018
        with large.room_for_large(run_of(3)):
            pass


def test_a_mail_that_is_too_large_is_not_fetched(mails, connect, sync, states, monkeypatch) -> None:
    monkeypatch.setattr("actors.mail.reading.MAX_MAIL_BYTES", 600)
    mails.fill([(mail(1), at(1)), (mail(2, body="Total: $2.50\n" + "x" * 1000), at(2))])
    business_id, _ = connect()
    assert counted(sync(business_id)) == ("completed", 2, 1, 1)
    assert states()[1] == ("unreadable", "too_large")


def test_a_mailbox_without_end_fills_no_more_of_the_list_than_one_business_may(
    mails, connect, engine, here, sql, monkeypatch
) -> None:
    monkeypatch.setattr("actors.sync_receipts.PAGE", 1)
    monkeypatch.setattr("actors.sync_receipts.PAGES_PER_CHECK", 1)
    mails.fill([(mail(number), at(number)) for number in range(1, 6)])
    business_id, _ = connect()
    job = run_kind(sync_receipts, engine, changed(here, MAX_MAILS=3), business_id, {})
    assert (job["status"], job["error_code"]) == ("failed", "too_many_mails")
    assert "has 3 mails in its list" in job["last_error"]
    assert sql("SELECT count(*) AS n FROM mail_messages") == [{"n": 3}]
    neighbour, _ = connect()
    assert counted(run_kind(sync_receipts, engine, changed(here, MAX_MAILS=5), neighbour, {})) == ("completed", 5, 5, 0)
    sql("SELECT resume_job(:id, 'dana')", id=job["id"])
    assert counted(go_on(sync_receipts, engine, here, job["id"])) == ("completed", 5, 5, 0)


def test_a_full_sync_tries_again_what_could_not_be_read(mails, connect, sync, states, monkeypatch) -> None:
    mails.fill([(mail(1), at(1))])
    business_id, _ = connect()
    with monkeypatch.context() as patched:
        patched.setattr(ImapMailbox, "fetch", lambda *_arguments: {})
        assert counted(sync(business_id)) == ("completed", 1, 0, 1)
    assert counted(sync(business_id)) == ("completed", 0, 0, 0)
    assert counted(sync(business_id, mode="full")) == ("completed", 1, 1, 0)
    assert states() == [("receipt", "receipt")]


def test_nothing_that_a_private_mail_says_is_kept(mails, connect, sync, sql, bucket) -> None:
    mails.fill([(mail(1, "Confidential plans", "the confidential plan"), at(1))])
    business_id, _ = connect()
    sync(business_id)
    tables = sql("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")
    dump = str([sql(f"SELECT t::text AS row FROM {table['name']} t") for table in tables])
    assert "onfidential" not in dump
    assert bucket.keys() == []
