"""Our advisory locks: a number space of their own, so that no other program's locks can meet them."""

SPACE = 1819242087  # 'long' in ASCII; functions/live_workers.sql looks for it

# Ids in that space. Workers use theirs from the workers table, which start at 1.
RELEASE = 0
SWEEP = -1
RETENTION = -2


def lock_key(lock_id: int) -> dict[str, int]:
    """The parameters of `pg_advisory_lock(:space, :id)`."""
    return {"space": SPACE, "id": lock_id}
