"""A mailbox with the processes of the Procfile: each receipt once through a kill -9, and no secret anywhere."""

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from threading import Event, Thread

import pytest

from service.local.mail_server import MailServer, mail_server
from service.local.processes import wait_until
from service.local.seed import PDF

PLANTED = "planted-5f0c9b1d-secret"
MOMENT = datetime(2025, 6, 15, 12, tzinfo=UTC)
RECEIPTS, OTHERS = 60, 30


def mail(number: int) -> bytes:
    message = EmailMessage()
    message["From"], message["Message-ID"] = "Night Owl Taxi <rides@nightowl.example>", f"<{number}@nightowl.example>"
    message["Date"] = MOMENT
    if number <= RECEIPTS:
        message["Subject"] = "Your receipt"
        message.set_content(f"Total: ${number}.50\n")
        pdf = PDF + b"%% %d" % number
        message.add_attachment(pdf, maintype="application", subtype="pdf", filename="receipt.pdf")
    else:
        message["Subject"] = "A walk on Sunday?"
        message.set_content("The weather will be fine.")
    return message.as_bytes()


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with mail_server(password=PLANTED) as server:
        server.fill((mail(n), MOMENT + timedelta(hours=n)) for n in range(1, RECEIPTS + OTHERS + 1))
        yield server


class Watcher(Thread):
    """Looks for the secret in what runs: command lines, and statements in Postgres."""

    def __init__(self, sql) -> None:
        super().__init__(daemon=True)
        self._sql = sql
        self.ended = Event()
        self.seen: list[str] = []

    def run(self) -> None:
        while not self.ended.wait(0.05):
            said = [row["query"] for row in self._sql("SELECT query FROM pg_stat_activity WHERE query <> ''")]
            said += [line for file in Path("/proc").glob("[0-9]*/cmdline") if (line := read(file))]
            self.seen += [line for line in said if PLANTED in line]


def read(file: Path) -> str:
    try:
        line = file.read_bytes().decode(errors="replace")
    except OSError:
        return ""
    return "" if "pymap" in line or "mail_server" in line else line


def test_each_receipt_is_stored_once_through_a_kill_9_and_the_password_is_nowhere(
    mails, connecting, web, start, make, sql, bucket
) -> None:
    keys = {"CONNECTION_KEYS": connecting["CONNECTION_KEYS"][0], "ALLOW_PRIVATE_HOSTS": 1}
    business_id = make.business()
    owner = web(make.token(business_id), **keys)
    watcher = Watcher(sql)
    watcher.start()
    answers = [owner.post("/api/connections", {**mails.params, "currency": "USD"})]
    assert answers[0].status == 201
    worker = start("worker", SYNC_RECEIPTS_THROTTLE_MS=2000, **keys)  # so it is killed in the middle
    started = owner.post("/api/receipts/sync", {})
    assert started.status == 202
    job = f"/api/jobs/{started.body['job_id']}"
    wait_until(lambda: owner.get(job).body["processed"] >= 20, 30, "the first mails to be read")
    worker.signal(signal.SIGKILL)
    assert owner.post("/api/receipts/sync", {}).body["code"] == "job_active"
    second = start("worker", **keys)
    wait_until(lambda: owner.get(job).body["status"] == "completed", 40, "the sync to be completed")
    watcher.ended.set()

    done = owner.get(job).body
    total = RECEIPTS + OTHERS
    assert (done["total"], done["processed"], done["succeeded"], done["failed_count"]) == (total, total, total, 0)
    assert done["stats"]["saved_receipts"] == RECEIPTS
    amounts = [row["amount"] for row in sql("SELECT amount::float8 AS amount FROM receipts ORDER BY amount")]
    assert amounts == [n + 0.5 for n in range(1, RECEIPTS + 1)]
    sql("UPDATE attachments SET purge_after = now() WHERE receipt_id IS NULL")  # what the kill left, an hour early
    wait_until(lambda: len(bucket.keys()) == RECEIPTS, 30, "the bucket to hold the receipts' files and no other")
    again = owner.post("/api/receipts/sync", {})
    wait_until(
        lambda: owner.get(f"/api/jobs/{again.body['job_id']}").body["status"] == "completed", 30, "the next sync"
    )
    assert owner.get(f"/api/jobs/{again.body['job_id']}").body["total"] == 0

    paths = (
        "/api/connections",
        "/api/jobs",
        "/api/receipts/sync/status",
        f"{job}/events",
        "/api/receipts/sync/messages",
    )
    answers += [started, again, *(owner.get(path) for path in paths)]
    tables = sql("SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('public', 'dramatiq')")
    dump = [sql(f"SELECT t::text AS row FROM {one['schemaname']}.{one['tablename']} t") for one in tables]
    logs = "".join(log.read_text(errors="replace") for log in second.log.parent.glob("*.log"))
    assert "run.done" in logs
    assert PLANTED not in json.dumps([[str(answer) for answer in answers], dump], default=str)
    assert PLANTED not in logs
    assert watcher.seen == []
