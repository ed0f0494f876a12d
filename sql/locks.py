"""Our advisory locks: two number spaces of their own, so that no other program's locks can meet them."""

WORKERS = 1819242087  # 'long' in ASCII. The lock of a worker's id; functions/workers/live_workers.sql looks for these
CHORES = WORKERS + 1  # things that one process does at a time

RELEASE = {"space": CHORES, "id": 1}
SWEEP = {"space": CHORES, "id": 2}
RETENTION = {"space": CHORES, "id": 3}


def worker_lock(worker_id: int) -> dict[str, int]:
    """The parameters of `pg_advisory_lock(:space, :id)` for a worker."""
    return {"space": WORKERS, "id": worker_id}
