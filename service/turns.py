"""Which request gets the next thread: no business can starve the others."""

import time
from collections import Counter, defaultdict, deque
from itertools import count
from typing import Any, NamedTuple

from waitress.task import ThreadedTaskDispatcher

from service.credentials import Credential, LookedUp, credential, known_credentials
from service.refusals import UnauthorizedError

ASKS_NOBODY = "/healthz"  # needs neither Postgres nor the store
ASKS_POSTGRES = "/readyz"
SIGNS_IN = "/api/session"
WITHOUT_TOKEN = ""
OPEN = (SIGNS_IN, "/api/docs", "/api/openapi.json")  # to all, whatever credential they send
CROWD = 32  # that wait; among those whose tokens are not known here, the newest then goes first


class Waiting(NamedTuple):
    """A request that waits for a thread."""

    number: int  # in order of arrival
    token: str  # counts towards its limit; "": no token
    channel: Any


class Turns(ThreadedTaskDispatcher):  # type: ignore[misc]
    """A free thread goes to the name with the fewest threads, then to the oldest request. A name is a business with all
    its tokens, an operator's token, all who sign in, or all others without a valid token; each holds at most half of
    the threads, and the last two leave some to the rest. A credential that is new here is looked up, and then waits for
    a turn of its business. Two more threads keep the platform's health checks and the other requests from waiting for
    each other: one for /healthz and refusals (which may hold up to half of all threads), and the only one for /readyz.

    In a flood of made-up tokens whoever came first would wait for all the others; so there the newest goes first, and
    an unknown token is refused without asking the application.
    """

    def __init__(self, threads: int, most_in_flight: int, cookie: str) -> None:
        super().__init__()
        self._cookie = cookie  # the session cookie's name
        self._threads = threads
        self._share = max(1, threads // 2)
        self._most_in_flight = most_in_flight  # per token, once they are read completely; 0: no limit
        self._in_flight: Counter[str] = Counter()
        self._waiting: defaultdict[str, deque[Waiting]] = defaultdict(deque)  # by name
        self._running: Counter[str] = Counter()
        self._arrivals = count()
        self.set_thread_count(threads + 2)

    def add_task(self, channel: Any) -> None:
        request = channel.requests[0]
        with self.lock:
            name, token = self._name(request)
            self._in_flight[token] += 1
            self._waiting[name].append(Waiting(next(self._arrivals), token, channel))
            if self._may_run(name):
                self.queue_cv.notify()

    def _name(self, request: Any) -> tuple[str, str]:
        """The name whose threads it takes, and the token that it counts towards."""
        if request.error or request.path == ASKS_NOBODY:
            return ASKS_NOBODY, ""
        shown = self._shown(request)
        # A credential that is made up, or was not looked up yet, has no limit of its own.
        owner = None if shown is None else known_credentials.owner_of(shown.hashed)
        if owner is None:
            of_its_own = request.path == ASKS_POSTGRES or (request.path == SIGNS_IN and request.command == "POST")
            return (request.path if of_its_own else WITHOUT_TOKEN), ""
        token = f"token {owner.token_id}"  # its sessions count towards it
        if self._most_in_flight and self._in_flight[token] >= self._most_in_flight:
            request.is_too_many = True
            return WITHOUT_TOKEN, ""
        return (token if owner.business_id is None else f"business {owner.business_id}"), token

    def _shown(self, request: Any) -> Credential | None:
        return credential(request.headers.get("AUTHORIZATION"), request.headers.get("COOKIE"), self._cookie)

    def handler_thread(self, number: int) -> None:
        while (turn := self._next(number)) is not None:
            name, waiting = turn
            is_for_another: bool | None = False
            try:
                request = waiting.channel.requests[0]
                is_for_another = name == WITHOUT_TOKEN and self._turns_out_known(request)
                if is_for_another is None and self._is_crowded(name) and request.path not in OPEN:
                    request.error = UnauthorizedError("the token is not known")
                if not is_for_another:
                    waiting.channel.service()
            except BaseException:
                self.logger.exception("Exception when serving %r", waiting.channel)
            with self.lock:
                _subtract(self._in_flight, waiting.token)
                _subtract(self._running, name)  # what may run now, this thread takes itself
            if is_for_another:
                self.add_task(waiting.channel)

    def _turns_out_known(self, request: Any) -> bool | None:
        """Looks up a credential that is new here: otherwise a business with many would hold these threads too. None: it
        is not valid.
        """
        shown, look_up = self._shown(request), known_credentials.look_up
        is_asked_of_us = request.path.startswith("/api/")  # the page is served without Postgres
        if not is_asked_of_us or shown is None or look_up is None or request.was_looked_up or request.is_too_many:
            return False
        request.was_looked_up = True
        began = time.monotonic()
        try:
            row = look_up(shown)
        except Exception:  # the application tells what is wrong with Postgres
            return False
        if row is None:
            return None
        request.looked_up = LookedUp(shown, row, began)
        return True

    def _is_crowded(self, name: str) -> bool:
        return name in (WITHOUT_TOKEN, SIGNS_IN) and len(self._waiting.get(name, ())) > CROWD

    def _next(self, number: int) -> tuple[str, Waiting] | None:
        """Waits for the next request that may run, with its name. None: this thread must end."""
        with self.lock:
            while self.stop_count == 0:
                names = [name for name in self._waiting if self._may_run(name)]
                if names:
                    return self._take(min(names, key=lambda name: (self._running[name], self._waiting[name][0].number)))
                self.active_count -= 1
                self.queue_cv.wait()
                self.active_count += 1
            self.active_count -= 1
            self.stop_count -= 1
            self.threads.discard(number)
            self.thread_exit_cv.notify()
            return None

    def _take(self, name: str) -> tuple[str, Waiting]:
        waiting = self._waiting[name]
        first = waiting.pop() if self._is_crowded(name) else waiting.popleft()
        if not self._waiting[name]:
            del self._waiting[name]
        self._running[name] += 1
        return name, first

    def _may_run(self, name: str) -> bool:
        if name == ASKS_POSTGRES:
            return not self._running[name]
        others = self._running.total() - self._running[ASKS_NOBODY] - self._running[ASKS_POSTGRES]
        without = self._running[WITHOUT_TOKEN] + self._running[SIGNS_IN]
        if name in (WITHOUT_TOKEN, SIGNS_IN) and without >= max(1, self._threads - max(1, self._threads // 4)):
            return False
        return self._running[name] < self._share and (name == ASKS_NOBODY or others < self._threads)

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        ended = bool(super().shutdown(cancel_pending=False, timeout=timeout))
        while cancel_pending and self._waiting:
            for waiting in self._waiting.popitem()[1]:
                waiting.channel.cancel()
        return ended


def _subtract(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]
