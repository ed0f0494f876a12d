"""How many messages a worker process may hold at a time."""

from collections import defaultdict
from threading import Lock

PREFETCH = 64  # of short messages, per queue: a claim brings half as many at a time


class Room:
    """How many more messages this process may hold: its threads for long jobs, a few per queue for short messages.

    Nothing may be parked behind a long job: those are claimed for a free thread only, and where short messages are
    served too, one thread is kept for them.
    """

    def __init__(self, threads: int, prefetch: int = PREFETCH) -> None:
        self._threads = threads
        self._prefetch = prefetch
        self._held: dict[str, int] = defaultdict(int)
        self._lock = Lock()

    def take(self, queue: str) -> None:
        with self._lock:
            self._held[queue] += 1

    def give(self, queue: str) -> None:
        with self._lock:
            self._held[queue] -= 1

    def for_long(self, queues: list[str], beside_short: bool) -> int:
        """Over all of these queues together."""
        with self._lock:
            reserved = 1 if beside_short and self._threads > 1 else 0
            return max(0, self._threads - reserved - sum(self._held[queue] for queue in queues))

    def for_short(self, queue: str) -> int:
        """0 until half of the room is free: many at a time are much cheaper than one by one."""
        with self._lock:
            free = self._prefetch - self._held[queue]
            return free if free * 2 >= self._prefetch else 0
