"""Which request gets the next thread: no token can starve the others."""

from collections import Counter
from typing import Any

from waitress.task import ThreadedTaskDispatcher

from service.credentials import credential, known_credentials

ASKS_NOBODY = "/healthz"  # needs neither Postgres nor the store
ASKS_POSTGRES = "/readyz"


class Turns(ThreadedTaskDispatcher):  # type: ignore[misc]
    """Requests run in order of arrival, but those of one token hold at most half of the threads at a time; requests
    without a known token share one such half. Two more threads keep the platform's health checks and the other
    requests from waiting for each other: one for /healthz and refusals (which may hold up to half of all threads),
    and the only one for /readyz.
    """

    def __init__(self, threads: int, most_in_flight: int, cookie: str) -> None:
        super().__init__()
        self._cookie = cookie  # the session cookie's name
        self._threads = threads
        self._share = max(1, threads // 2)
        self._most_in_flight = most_in_flight  # per token, once they are read completely; 0: no limit
        self._in_flight: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self.set_thread_count(threads + 2)

    def add_task(self, channel: Any) -> None:
        request = channel.requests[0]
        with self.lock:
            name = self._name(request)
            self._in_flight[name] += 1
            self.queue.append((name, channel))
            self.queue_cv.notify()

    def _name(self, request: Any) -> str:
        """Requests with the same name share a limit."""
        if request.error or request.path == ASKS_NOBODY:
            return ASKS_NOBODY
        shown = credential(request.headers.get("AUTHORIZATION"), request.headers.get("COOKIE"), self._cookie)
        # A credential that is made up, or new here, has no limit of its own. A token and its sessions share one.
        token_id = None if shown is None else known_credentials.token_of(shown.hashed)
        if token_id is None:
            return ASKS_POSTGRES if request.path == ASKS_POSTGRES else ""
        name = f"token {token_id}"
        if self._most_in_flight and self._in_flight[name] >= self._most_in_flight:
            request.is_too_many = True
            return ""
        return name

    def handler_thread(self, number: int) -> None:
        while (turn := self._next(number)) is not None:
            name, channel = turn
            try:
                channel.service()
            except BaseException:
                self.logger.exception("Exception when serving %r", channel)
            with self.lock:
                _subtract(self._in_flight, name)
                _subtract(self._running, name)
                self.queue_cv.notify()

    def _next(self, number: int) -> tuple[str, Any] | None:
        """Waits for the next request that may run. None: this thread must end."""
        with self.lock:
            while self.stop_count == 0:
                for place, (name, channel) in enumerate(self.queue):
                    if self._may_run(name):
                        del self.queue[place]
                        self._running[name] += 1
                        return name, channel
                self.active_count -= 1
                self.queue_cv.wait()
                self.active_count += 1
            self.active_count -= 1
            self.stop_count -= 1
            self.threads.discard(number)
            self.thread_exit_cv.notify()
            return None

    def _may_run(self, name: str) -> bool:
        if name == ASKS_POSTGRES:
            return not self._running[name]
        others = self._running.total() - self._running[ASKS_NOBODY] - self._running[ASKS_POSTGRES]
        return self._running[name] < self._share and (name == ASKS_NOBODY or others < self._threads)

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        ended = bool(super().shutdown(cancel_pending=False, timeout=timeout))
        while cancel_pending and self.queue:
            self.queue.popleft()[1].cancel()
        return ended


def _subtract(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]
