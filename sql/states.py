"""The states of a job and the transitions between them, defined once.

The SQL functions in functions/ implement the transitions; tests/sql/test_verbs.py checks that both agree.
"""

QUEUED = "queued"  # waits for a worker; its message is in the queue
RUNNING = "running"  # claimed by one worker, fenced by `attempt`
PAUSED = "paused"  # by request; continues only by resume
COMPLETED = "completed"  # nothing is left to do
CANCELLED = "cancelled"  # by request; what was done stays done
FAILED = "failed"  # gave up, with an error; resume continues from the cursor

STATUSES = (QUEUED, RUNNING, PAUSED, COMPLETED, CANCELLED, FAILED)
ACTIVE = (QUEUED, RUNNING, PAUSED)  # at most one such job per business and type
FINISHED = (COMPLETED, CANCELLED, FAILED)  # these, and only these, have a finished_at

REQUESTS = ("pause", "cancel")  # what may be requested of a running job

TRANSITIONS = {
    QUEUED: {RUNNING, PAUSED, CANCELLED},
    RUNNING: {QUEUED, PAUSED, CANCELLED, COMPLETED, FAILED},
    PAUSED: {QUEUED, CANCELLED},
    FAILED: {QUEUED},
    COMPLETED: set(),
    CANCELLED: set(),
}

# What each user verb does to a job: (status, requested) before -> after.
# If a pair is missing, the verb is refused. If a pair maps to itself, the request is repeated: nothing changes.
VERBS: dict[str, dict[tuple[str, str | None], tuple[str, str | None]]] = {
    "pause": {
        (QUEUED, None): (PAUSED, None),
        (PAUSED, None): (PAUSED, None),
        (RUNNING, None): (RUNNING, "pause"),
        (RUNNING, "pause"): (RUNNING, "pause"),
    },
    "cancel": {
        (QUEUED, None): (CANCELLED, None),
        (PAUSED, None): (CANCELLED, None),
        (CANCELLED, None): (CANCELLED, None),
        (RUNNING, None): (RUNNING, "cancel"),
        (RUNNING, "pause"): (RUNNING, "cancel"),
        (RUNNING, "cancel"): (RUNNING, "cancel"),
    },
    "resume": {
        (QUEUED, None): (QUEUED, None),
        (PAUSED, None): (QUEUED, None),
        (FAILED, None): (QUEUED, None),
        (RUNNING, None): (RUNNING, None),
        (RUNNING, "pause"): (RUNNING, None),
    },
    "reset": {
        (RUNNING, None): (FAILED, None),
        (RUNNING, "pause"): (PAUSED, None),
        (RUNNING, "cancel"): (CANCELLED, None),
    },
}


def verb_changes(verb: str, status: str, requested: str | None, *, waits: bool = False) -> bool:
    """Would this user verb change anything? `waits`: the job is queued until a time."""
    after = VERBS[verb].get((status, requested))
    if verb == "resume" and status == QUEUED:
        return waits
    return after is not None and after != (status, requested)
