"""A large mailbox behind a bad server and a bad network, with workers killed and people who pause."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from service.local.mail_server import MailServer, mail_server
from service.local.processes import wait_until
from tests.actors.mail.impaired import DROP, LOSE, SILENCE, Impaired
from tests.system.outages.breakable import Proxy

MAILS = int(os.environ.get("SYNC_MAILS", "2000"))
KILLS, DELETED = 10, 20
BATCH = 20
MOMENT = datetime(2025, 6, 15, 12, tzinfo=UTC)
FAULTS = ("NO not now", "BAD what?", LOSE, DROP, "NO [LIMIT] Too many commands, try again in 1 s", SILENCE)
ROUNDS, EACH = 2, 20  # of so many commands one goes wrong, until each fault was met so often


def mail(number: int) -> bytes:
    message = EmailMessage()
    message["From"], message["Message-ID"] = "Night Owl Taxi <rides@nightowl.example>", f"<{number}@nightowl.example>"
    message["Subject"] = "Your receipt" if number % 2 else "A walk on Sunday?"
    message["Date"] = MOMENT
    message.set_content(f"Total: ${number}.50\n")
    return message.as_bytes()


@dataclass
class Faults:
    """Each kind in its turn, at listing and at reading; none hits one mail so often that it would be given up."""

    seen: int = 0
    done: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)
    left: list[str] = field(default_factory=lambda: ROUNDS * list(FAULTS))

    def __call__(self, command: str) -> str | None:
        if not command.startswith("UID "):
            return None
        self.seen += 1
        first = command.split()[2]
        if self.seen % EACH or self.hits[first] or not self.left:
            return None
        kind = self.left.pop(0)
        self.hits[first] += 1
        self.done[kind] += 1
        return kind


@pytest.fixture(scope="module")
def large() -> Iterator[MailServer]:
    with mail_server() as server:
        server.fill((mail(n), MOMENT + timedelta(minutes=n)) for n in range(1, MAILS + 1))
        yield server


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def network(large, faults) -> Iterator[Proxy]:
    """To a server that fails with these faults."""
    server = Impaired(large.port, faults)
    proxy = Proxy(("127.0.0.1", server.port))
    yield proxy
    proxy.close()
    server.close()


def delete_last(server: MailServer, number: int) -> None:
    client = server.client()
    client.select("INBOX")
    client.store(f"{MAILS - number + 1}:{MAILS}", "+FLAGS", "(\\Deleted)")
    client.expunge()
    client.logout()


@pytest.fixture
def look(job_row) -> Callable[[int], dict[str, Any]]:
    """The job's row, also right after Postgres was away."""

    def row(job_id: int) -> dict[str, Any]:
        for _ in range(20):
            try:
                return job_row(job_id)
            except DBAPIError:
                time.sleep(0.5)
        return job_row(job_id)

    return row


def away(proxy: Proxy, seconds: float) -> None:
    proxy.refuse()
    time.sleep(seconds)
    proxy.heal()


@pytest.mark.scale
@pytest.mark.timeout(1500)
def test_every_receipt_is_stored_once_whatever_breaks(
    large, network, faults, connecting, web, start, make, sql, bucket, look, postgres, store, between
) -> None:
    keys = {
        "CONNECTION_KEYS": connecting["CONNECTION_KEYS"][0],
        "ALLOW_PRIVATE_HOSTS": 1,
        "SYNC_RECEIPTS_THROTTLE_MS": 100,
    }
    business_id = make.business()
    owner = web(make.token(business_id), **keys)
    assert owner.post("/api/connections", {**large.params, "port": network.port}).status == 201
    worker = start("worker", **keys)
    job_id = owner.post("/api/receipts/sync", {}).body["job_id"]
    wait_until(lambda: look(job_id)["total"] is not None, 180, "the list to be complete")
    delete_last(large, DELETED)
    step = max((MAILS - DELETED) // (KILLS + 4), BATCH)

    def break_down(number: int) -> None:
        if number in (3, 6):
            sql("SELECT pause_job(:id, 'dana')", id=job_id)
        elif number == 2:
            postgres.stop(signal.SIGINT)
            postgres.start()
        elif number == 5:
            away(network, 4)
        elif number == 7:
            store.stop(0)
            time.sleep(4)  # while uploads fail
            store.start()
        elif number == 8:
            away(between.bucket, 4)

    for kill in range(KILLS):
        before = look(job_id)["processed"]
        enough = min(before + step, MAILS - 2 * BATCH)
        wait_until(lambda: look(job_id)["processed"] >= enough, 240, "progress")  # noqa: B023
        network.cut()
        worker.signal(signal.SIGKILL)
        worker = start("worker", **keys)
        break_down(kill)
        if kill in (3, 6):
            wait_until(lambda: look(job_id)["status"] == "paused", 90, "the job to be paused")
            sql("SELECT resume_job(:id, 'dana')", id=job_id)
    wait_until(lambda: look(job_id)["status"] not in ("queued", "running"), 600, "the end")
    row = look(job_id)
    assert row["status"] == "completed", row["last_error"]
    assert (row["total"], row["processed"], row["failed_count"]) == (MAILS, MAILS, DELETED)
    if MAILS >= 2000:
        assert set(faults.done) == set(FAULTS), "a kind of fault has never been met"
    check_receipts(sql, bucket)
    faults.left.clear()  # the server is well again
    again = owner.post("/api/receipts/sync", {})
    assert again.status == 202
    wait_until(lambda: look(again.body["job_id"])["status"] == "completed", 60, "the next sync")
    assert look(again.body["job_id"])["total"] == 0


def check_receipts(sql, bucket) -> None:
    """Each once, with its file; nothing else in the bucket, and nothing in doubt."""
    expected = (MAILS - DELETED + 1) // 2
    states = {one["state"]: one["n"] for one in sql("SELECT state, count(*) AS n FROM mail_messages GROUP BY 1")}
    assert states == {"receipt": expected, "not_receipt": MAILS - DELETED - expected, "unreadable": DELETED}
    assert sql("SELECT DISTINCT reason FROM mail_messages WHERE state = 'unreadable'") == [{"reason": "gone"}]
    (found,) = sql("SELECT count(*) AS n, count(DISTINCT amount) AS amounts FROM receipts")
    assert (found["n"], found["amounts"]) == (expected, expected)
    sql("UPDATE attachments SET purge_after = now() WHERE receipt_id IS NULL")  # what the kills left, an hour early
    left = "SELECT count(*) AS n FROM attachments WHERE receipt_id IS NULL AND purged_at IS NULL"
    wait_until(lambda: sql(left)[0]["n"] == 0, 90, "what the kills left to be collected")
    kept = sql("SELECT object_key FROM attachments WHERE receipt_id IS NOT NULL AND purge_after IS NULL")
    assert len(kept) == expected
    assert sorted(bucket.keys()) == sorted(one["object_key"] for one in kept)
    waiting = "SELECT count(*) AS n FROM dramatiq.queue WHERE state IN ('queued', 'consumed')"
    wait_until(lambda: sql(waiting)[0]["n"] == 0, 60, "no message to be left")
