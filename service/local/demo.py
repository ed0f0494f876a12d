"""`make demo`: receipts found in a mailbox, then thousands deleted by a job over HTTP, with the proof."""

from typing import Any

from sqlalchemy import Engine, text

from actors.runtime.base.config import load_settings
from actors.runtime.base.storage import Bucket
from service.local import made_up_mails, mail_demo
from service.local.client import Client
from service.local.seed import owner_token, seed
from service.local.system import system
from service.local.watch import watch


def demo(receipts: int) -> int:
    """Exit code 0 if the sync found what it should, every receipt and object is gone, and the counters are exact."""
    with system("demo", **mail_demo.settings()) as (environment, client, engine, check):
        business_id = seed(environment, engine, receipts)
        owner = Client(client.address, owner_token(engine, business_id))
        is_synced = mail_demo.sync_demo(owner, engine, business_id, check)
        started = owner.post("/api/receipts/delete_all", {"confirm": "DELETE"})
        print(f"\nPOST /api/receipts/delete_all → {started.status} {started.body}")
        job = watch(owner, started.body["job_id"], check, unit=" receipts", seconds=3600)
        in_all = receipts + made_up_mails.expected()["receipts"]
        code = prove(engine, Bucket(load_settings(environment)), business_id, job, in_all)
    print("Next: `make dev` starts the same and keeps it running, with an address and a token to try.", flush=True)
    return code if is_synced else 1


def prove(engine: Engine, bucket: Bucket, business_id: int, job: dict[str, Any], receipts: int) -> int:
    """Checks Postgres and the bucket directly, not through the API."""
    with engine.begin() as connection:
        left = connection.execute(
            text("SELECT count(*) FROM receipts WHERE business_id = :id AND NOT is_deleted"), {"id": business_id}
        ).scalar_one()
    facts = {
        "receipts left in Postgres": (left, 0),
        "objects left in the bucket": (len(bucket.keys()), 0),
        "status": (job["status"], "completed"),
        "total": (job["total"], receipts),
        "processed": (job["processed"], receipts),
        "succeeded": (job["succeeded"], receipts),
        "failed_count": (job["failed_count"], 0),
        "attachments_deleted": (job["stats"]["attachments_deleted"], receipts),
        "attachments_failed": (job["stats"]["attachments_failed"], 0),
    }
    print()
    for name, (found, expected) in facts.items():
        print(
            f"  {'ok ' if found == expected else 'BAD'} {name}: {found}"
            + (f", expected {expected}" * (found != expected))
        )
    good = all(found == expected for found, expected in facts.values())
    print("\nProved: everything is gone, and the counters are exact." if good else "\nNot as expected.", flush=True)
    return 0 if good else 1
