"""How many messages a worker process may hold at a time."""

from collections import defaultdict
from threading import Lock

from dramatiq.worker import QUEUE_PREFETCH  # from the environment; 0: not set

MOST = 64  # of short messages, per queue
AHEAD_SECONDS = 0.1  # of work for all threads


class Prefetch:
    """How many more messages this process may hold: one long job per thread, and several short messages per queue.

    Nothing may wait behind a long job: long jobs are claimed only for a free thread, and if short messages are served
    too, one thread is kept for them. Short messages are prefetched only if they are really short: those that take long
    are claimed only for a free thread, so that no other worker idles. Dramatiq's own setting, the variable
    dramatiq_queue_prefetch, sets a fixed number per queue.
    """

    def __init__(self, threads: int, fixed: int | None = None) -> None:
        self._threads = threads
        self._fixed = QUEUE_PREFETCH if fixed is None else fixed
        self._held: dict[str, int] = defaultdict(int)
        self._seconds: dict[str, float] = {}  # roughly what a message of this queue takes
        self._lock = Lock()

    def acquire(self, queue: str) -> None:
        with self._lock:
            self._held[queue] += 1

    def release(self, queue: str, seconds: float | None = None) -> None:
        """`seconds`: how long its handler took; None if it never began."""
        with self._lock:
            self._held[queue] -= 1
            if seconds is not None:
                self._seconds[queue] = 0.8 * self._seconds.get(queue, seconds) + 0.2 * seconds

    def long_limits(self, long: list[str], short: list[str]) -> tuple[dict[str, int], int]:
        """How many may be claimed now from each queue of long jobs, and in total."""
        most = self.for_long(long, beside_short=bool(short)) if long else 0
        return {queue: most for queue in long if most}, most

    def short_limits(self, long: list[str], short: list[str]) -> tuple[dict[str, int], int]:
        """The same for short messages; none while all threads are busy with long jobs."""
        if not self.for_long(long, beside_short=False):
            return {}, 0
        limits = {queue: room for queue in short if (room := self.for_short(queue))}
        return limits, sum(limits.values())

    def for_long(self, queues: list[str], beside_short: bool) -> int:
        """For all of these queues together."""
        with self._lock:
            reserved = 1 if beside_short and self._threads > 1 else 0
            return max(0, self._threads - reserved - sum(self._held[queue] for queue in queues))

    def for_short(self, queue: str) -> int:
        """0 while more than half are left: many at a time are much cheaper than one by one."""
        with self._lock:
            held, limit = self._held[queue], self._fixed or self._limit(queue)
            if not self._fixed and limit <= self._threads:
                return max(0, min(limit - held, self._threads - self._slow()))
            free = max(0, limit - held)
            return free if free * 2 >= limit or held < self._threads else 0

    def _slow(self) -> int:
        """Messages that keep a thread busy for a while, or may. Really short ones are soon done, however many: other
        queues need not wait for that.
        """
        return sum(number for queue, number in self._held.items() if self._limit(queue) <= self._threads)

    def _limit(self, queue: str) -> int:
        seconds = self._seconds.get(queue)
        if seconds is None:
            return self._threads
        return max(self._threads, min(MOST, int(self._threads * AHEAD_SECONDS / max(seconds, 1e-6))))
