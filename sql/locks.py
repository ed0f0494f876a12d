"""Our advisory locks, except those of workers: for things that one process does at a time."""

SPACE = 1819242088  # the number after functions/workers/worker_lock_space.sql

RELEASE = {"space": SPACE, "id": 1}
SWEEP = {"space": SPACE, "id": 2}
RETENTION = {"space": SPACE, "id": 3}
