"""A sync of one mailbox on one worker, beside each of its parts alone: fetching, parsing, uploading."""

import base64
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from io import BytesIO
from threading import Event, Thread

import psutil

from actors.mail.imap import ImapMailbox
from actors.mail.parser import Parser
from actors.mail.verdict import Context
from actors.mail.wire import Server
from actors.runtime.base.config import load_settings
from actors.runtime.base.storage import Bucket
from bench._site import Site, site
from service.local.client import Client
from service.local.mail_server import MailServer, mail_server
from service.local.processes import wait_until

MAILS = 1_000
BATCH = 20
PDF_BYTES, HTML_ROWS = 44_000, 110  # 68 KiB in all, once it is encoded
MOMENT = datetime(2025, 6, 15, 12, tzinfo=UTC)


def run() -> str:
    keys = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    with mail_server() as server, site(workers=0, CONNECTION_KEYS=keys, ALLOW_PRIVATE_HOSTS=1) as place:
        raw = [_mail(number) for number in range(MAILS)]
        server.fill((one, MOMENT + timedelta(minutes=number)) for number, one in enumerate(raw))
        parts = {
            "fetched alone": MAILS / _timed(lambda: _fetch(server)),
            "parsed alone": MAILS / _timed(lambda: _parse(raw)),
            "uploaded alone (half of them have a receipt's PDF)": MAILS / _timed(lambda: _upload(place)),
        }
        seconds, used = _sync(place, server)
    size = sum(map(len, raw)) / MAILS / 1024
    rows = "".join(f"| {name} | {rate:,.0f} | | |\n" for name, rate in parts.items())
    times = ", ".join(f"{name} {1000 * one.seconds / MAILS:.1f}" for name, one in used.items())
    memory = ", ".join(f"{name} {one.megabytes:.0f}" for name, one in used.items())
    return (
        f"| {MAILS:,} mails of {size:.0f} KiB, one worker | mails a second | processor, ms a mail | MB at most |\n"
        f"|---|---|---|---|\n| the whole sync | {MAILS / seconds:,.0f} | {times} | {memory} |\n{rows}"
        f"| the three parts, one after the other | {1 / sum(1 / rate for rate in parts.values()):,.0f} | | |\n"
    )


def _mail(number: int) -> bytes:
    """Every other one is a receipt, with a PDF of its own."""
    mail = EmailMessage()
    mail["From"], mail["Message-ID"] = "Night Owl Taxi <rides@nightowl.example>", f"<{number}@nightowl.example>"
    mail["Subject"], mail["Date"] = "Your receipt" if number % 2 else "A walk on Sunday?", MOMENT
    mail.set_content(f"Total: ${number + 1}.50\n")
    lines = "".join(f"<tr><td style='padding:4px'>Item {row}</td><td>of many</td></tr>" for row in range(HTML_ROWS))
    mail.add_alternative(f"<table>{lines}<tr><td>Total</td><td>${number + 1}.50</td></tr></table>", subtype="html")
    pdf = b"%PDF-1.4\n" + secrets.token_bytes(PDF_BYTES)
    mail.add_attachment(pdf, maintype="application", subtype="pdf", filename="receipt.pdf")
    return mail.as_bytes()


def _timed(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _fetch(server: MailServer) -> None:
    where = Server("127.0.0.1", server.port, "none", private_allowed=True)
    mailbox = ImapMailbox(where, server.user, server.password)
    last = mailbox.position().last_uid
    for first in range(last - MAILS + 1, last + 1, BATCH):
        assert len(mailbox.fetch(range(first, first + BATCH), 30)) == BATCH
    mailbox.close()


def _parse(raw: list[bytes]) -> None:
    parser, context = Parser(), Context(MOMENT)
    for one in raw:
        assert parser.parse(one, context).judged
    parser.close()


def _upload(place: Site) -> None:
    bucket, content = Bucket(load_settings(place.environment)), os.urandom(PDF_BYTES)
    for number in range(MAILS // 2):
        bucket.put(f"bench/{number}.pdf", BytesIO(content), "application/pdf")


@dataclass
class Used:
    """By the worker's processes, or by its parser: memory of the largest, and time of the processor since the start."""

    megabytes: float = 0
    seconds: float = 0


def _sync(place: Site, server: MailServer) -> tuple[float, dict[str, Used]]:
    """Seconds from the start to the end, and what the processes used meanwhile."""
    owner = place.owner(0)
    assert owner.post("/api/connections", server.params).status == 201
    worker = place.start_worker()
    place.wait_for_workers(1)
    ended, used = Event(), {"worker": Used(), "parser": Used()}
    watch = Thread(target=_watch, args=(worker.pid, ended, used))
    watch.start()
    began = time.perf_counter()
    job = f"/api/jobs/{owner.post('/api/receipts/sync', {}).body['job_id']}"
    wait_until(lambda: owner.get(job).body["status"] not in ("queued", "running"), 600, "the sync")
    seconds = time.perf_counter() - began
    ended.set()
    watch.join()
    _check(owner, job)
    return seconds, used


def _check(owner: Client, job: str) -> None:
    done = owner.get(job).body
    assert (done["status"], done["succeeded"]) == ("completed", MAILS), done["last_error"]
    assert done["stats"]["saved_receipts"] == MAILS // 2


def _watch(pid: int, ended: Event, used: dict[str, Used]) -> None:
    before: dict[int, float] = {}
    last: dict[int, tuple[str, float]] = {}
    while not ended.wait(0.2):
        for process in _tree(pid):
            try:
                name = "parser" if "actors.mail.child" in process.cmdline() else "worker"
                busy = sum(process.cpu_times()[:2])
                used[name].megabytes = max(used[name].megabytes, process.memory_info().rss / 1_000_000)
            except psutil.Error:  # it has ended
                continue
            before.setdefault(process.pid, busy if name == "worker" else 0)
            last[process.pid] = name, busy - before[process.pid]
    for name, busy in last.values():
        used[name].seconds += busy


def _tree(pid: int) -> Iterator[psutil.Process]:
    root = psutil.Process(pid)
    yield root
    yield from root.children(recursive=True)
