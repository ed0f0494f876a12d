"""Watches a job from the terminal, as the demo does."""

import sys
import time
from typing import Any

from tqdm import tqdm

from service.local.client import Client
from service.local.system import Check


def watch(owner: Client, job_id: int, check: Check, *, unit: str, seconds: float) -> dict[str, Any]:
    """Draws the job's progress until it has ended and none of its files is left to purge; returns the job.

    TimeoutError after that many seconds; `check` raises if a process that the job needs has died.
    """
    with tqdm(desc="GET /api/jobs/…", unit=unit, total=0, file=sys.stdout) as bar:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            check()
            job: dict[str, Any] = owner.get(f"/api/jobs/{job_id}").body
            bar.total = job["total"]
            bar.set_postfix_str(f"{job['status']}, {job['percent']} %", refresh=False)
            bar.update(job["processed"] - bar.n)
            bar.refresh()
            if job["finished_at"] and not job["stats"].get("attachments_pending"):
                return job
            time.sleep(0.2)
    raise TimeoutError(f"job {job_id} did not end within {seconds:.0f} s")
