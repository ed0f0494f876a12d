"""`make dev`: the whole system, which runs until it is told to stop."""

import os
import sys
import time
from pathlib import Path

import psutil

from service.local import mail_demo, runs
from service.local.client import Client
from service.local.mail_server import mail_server
from service.local.runs import LOCAL
from service.local.seed import owner_token, seed
from service.local.system import Stopped, system


def dev() -> int:
    """Runs until it is interrupted or told to stop."""
    slow = {"THROTTLE_MS": "2000", "BATCH_SIZE": "20", "SYNC_RECEIPTS_THROTTLE_MS": "2000"}
    running = system("dev", **slow, **mail_demo.settings())
    with mail_server() as mails, running as (environment, client, engine, check):
        business_id = seed(environment, engine, 500)
        token = owner_token(engine, business_id)
        mail_demo.connect(Client(client.address, token), mails)
        url = _dev_url(os.getpid())
        runs.note("file", str(url))
        url.touch(mode=0o600)
        url.write_text(environment["DATABASE_URL"])
        try:
            print(
                f"\nThe page: {client.address}/ (sign in with the token below)\n"
                f"The API, described: {client.address}/api/docs\n\n"
                f"export LONGHAUL={client.address}\nexport TOKEN={token}\n"
                f'curl --fail-with-body -sS -H "Authorization: Bearer $TOKEN" "$LONGHAUL/api/receipts?limit=3"\n\n'
                "A mailbox is connected too; this reads it, and shows the progress:\n"
                'curl --fail-with-body -sS -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" '
                "-d '{}' \"$LONGHAUL/api/receipts/sync\"\n"
                'curl --fail-with-body -sS -H "Authorization: Bearer $TOKEN" "$LONGHAUL/api/receipts/sync/status"\n\n'
                f"Business {business_id}; jobs run slowly here, so that there is time to pause one. Logs in "
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
    """The database of the latest `dev` of this folder that is still running."""
    found = sorted(LOCAL.glob("dev-*.url"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in found:
        if psutil.pid_exists(int(file.stem.removeprefix("dev-"))):
            return file.read_text()
    sys.exit("Nothing to connect to: start `make dev`, or set DATABASE_URL")


def _dev_url(pid: int) -> Path:
    return LOCAL / f"dev-{pid}.url"
