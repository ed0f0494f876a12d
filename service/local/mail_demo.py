"""The part of `make demo` that reads a mailbox: connects and syncs it over HTTP, and checks what was found."""

import base64
import os

from sqlalchemy import Engine, text

from service.local.client import Client
from service.local.made_up_mails import MAILS, ROUNDS, expected, made_up_mails
from service.local.mail_server import MailServer, mail_server
from service.local.system import Check
from service.local.watch import watch

FOUND = text("""
    SELECT amount::text || ' ' || currency FROM receipts
    WHERE business_id = :id AND source = 'mail' AND NOT is_deleted ORDER BY 1
""")
WITHOUT_FILE = text("""
    SELECT count(*) FROM receipts r WHERE r.business_id = :id AND r.source = 'mail'
      AND NOT EXISTS (SELECT FROM attachments a WHERE a.receipt_id = r.id AND a.size > 0)
""")


def settings() -> dict[str, str]:
    """The settings that allow connecting to mailboxes on this machine."""
    return {"CONNECTION_KEYS": base64.urlsafe_b64encode(os.urandom(32)).decode(), "ALLOW_PRIVATE_HOSTS": "1"}


def connect(owner: Client, mails: MailServer) -> int:
    """Fills the mailbox and connects it; returns the connection's id."""
    mails.fill(made_up_mails())
    answer = owner.post("/api/connections", mails.params)
    print(f"\nPOST /api/connections → {answer.status} {answer.body}")
    return int(answer.body["connection_id"])


def sync_demo(owner: Client, engine: Engine, business_id: int, check: Check) -> bool:
    """True if exactly the expected receipts were found."""
    with mail_server() as mails:
        connect(owner, mails)
        started = owner.post("/api/receipts/sync", {"mode": "full"})
        print(f"POST /api/receipts/sync → {started.status} job {started.body['job_id']}")
        job = watch(owner, started.body["job_id"], check, unit=" mails", seconds=300)
    with engine.begin() as connection:
        found = list(connection.execute(FOUND, {"id": business_id}).scalars())
        without_file = connection.execute(WITHOUT_FILE, {"id": business_id}).scalar_one()
    facts = {
        "sync": (job["status"], "completed"),
        "mails read": (job["processed"], expected()["mails"]),
        "receipts found": (job["stats"]["saved_receipts"], expected()["receipts"]),
        "their amounts": (found, sorted(ROUNDS * [amount for _, _, _, amount, _ in MAILS if amount])),
        "receipts without a file": (without_file, 0),
    }
    print()
    for name, (is_so, should_be) in facts.items():
        shown = f"{len(is_so)} of {len(is_so)} right" if isinstance(is_so, list) and is_so == should_be else is_so
        print(f"  {'ok ' if is_so == should_be else 'BAD'} {name}: {shown}")
    return all(is_so == should_be for is_so, should_be in facts.values())
