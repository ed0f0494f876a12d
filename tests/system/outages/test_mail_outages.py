"""A large mailbox behind a network that breaks, with workers killed and people who pause: each receipt once."""

import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage

import pytest

from service.local.mail_server import MailServer, mail_server
from service.local.processes import wait_until
from tests.system.outages.breakable import Proxy

MAILS = int(os.environ.get("SYNC_MAILS", "2000"))
KILLS, DELETED = 10, 20
MOMENT = datetime(2025, 6, 15, 12, tzinfo=UTC)


def mail(number: int) -> bytes:
    message = EmailMessage()
    message["From"], message["Message-ID"] = "Night Owl Taxi <rides@nightowl.example>", f"<{number}@nightowl.example>"
    message["Subject"] = "Your receipt" if number % 2 else "A walk on Sunday?"
    message["Date"] = MOMENT
    message.set_content(f"Total: ${number}.50\n")
    return message.as_bytes()


@pytest.fixture(scope="module")
def large() -> Iterator[MailServer]:
    with mail_server() as server:
        server.fill((mail(n), MOMENT + timedelta(minutes=n)) for n in range(1, MAILS + 1))
        yield server


@pytest.fixture
def network(large) -> Iterator[Proxy]:
    proxy = Proxy(("127.0.0.1", large.port))
    yield proxy
    proxy.close()


def delete_last(server: MailServer, number: int) -> None:
    client = server.client()
    client.select("INBOX")
    client.store(f"{MAILS - number + 1}:{MAILS}", "+FLAGS", "(\\Deleted)")
    client.expunge()
    client.logout()


@pytest.mark.scale
@pytest.mark.timeout(1500)
def test_every_receipt_is_stored_once_whatever_breaks(
    large, network, connecting, web, start, make, sql, bucket, job_row
) -> None:
    keys = {
        "CONNECTION_KEYS": connecting["CONNECTION_KEYS"][0],
        "ALLOW_PRIVATE_HOSTS": 1,
        "SYNC_RECEIPTS_THROTTLE_MS": 200,
    }
    business_id = make.business()
    owner = web(make.token(business_id), **keys)
    assert owner.post("/api/connections", {**large.params, "port": network.port}).status == 201
    worker = start("worker", **keys)
    job_id = owner.post("/api/receipts/sync", {}).body["job_id"]
    wait_until(lambda: job_row(job_id)["total"] is not None, 180, "the list to be complete")
    delete_last(large, DELETED)
    step = max((MAILS - DELETED) // (KILLS + 4), 20)
    for kill in range(KILLS):
        before = job_row(job_id)["processed"]
        wait_until(lambda: job_row(job_id)["processed"] >= min(before + step, MAILS - 40), 180, "progress")  # noqa: B023
        network.cut()
        worker.signal(signal.SIGKILL)
        if kill in (3, 6):
            sql("SELECT pause_job(:id, 'dana')", id=job_id)
            wait_until(lambda: job_row(job_id)["status"] in ("paused", "running", "queued"), 60, "the pause")
        worker = start("worker", **keys)
        if kill == 5:
            network.refuse()
            time.sleep(4)
            network.heal()
        if kill in (3, 6):
            wait_until(lambda: job_row(job_id)["status"] == "paused", 90, "the job to be paused")
            sql("SELECT resume_job(:id, 'dana')", id=job_id)
    wait_until(lambda: job_row(job_id)["status"] not in ("queued", "running"), 600, "the end")
    row = job_row(job_id)
    assert row["status"] == "completed", row["last_error"]
    assert (row["total"], row["processed"], row["failed_count"]) == (MAILS, MAILS, DELETED)
    states = {one["state"]: one["n"] for one in sql("SELECT state, count(*) AS n FROM mail_messages GROUP BY 1")}
    expected = (MAILS - DELETED + 1) // 2
    assert states == {"receipt": expected, "not_receipt": MAILS - DELETED - expected, "unreadable": DELETED}
    (found,) = sql("SELECT count(*) AS n, count(DISTINCT amount) AS amounts FROM receipts")
    assert (found["n"], found["amounts"]) == (expected, expected)
    sql("UPDATE attachments SET purge_after = now() WHERE receipt_id IS NULL")
    left = "SELECT count(*) AS n FROM attachments WHERE receipt_id IS NULL AND purged_at IS NULL"
    wait_until(lambda: sql(left)[0]["n"] == 0, 90, "what the kills left to be collected")
    assert sql("SELECT count(*) AS n FROM attachments WHERE receipt_id IS NOT NULL AND purge_after IS NULL") == [
        {"n": expected}
    ]
    assert owner.post("/api/receipts/sync", {}).status == 202
