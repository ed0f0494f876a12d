"""Which request gets the next thread: no business can starve the others."""

import time
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

from waitress.task import ThreadedTaskDispatcher

from service.credentials import Credential, LookedUp, credential, known_credentials

ASKS_NOBODY = "/healthz"  # needs neither Postgres nor the store
ASKS_POSTGRES = "/readyz"
SIGNS_IN = "/api/session"
THE_PAGE = "/"  # its files, and its question whether somebody is signed in
NEW = "new"  # a credential that is not known here
TOO_MANY = "too many"  # of one token: a 429
WITHOUT_TOKEN = ""  # or with one that is not valid
OF_NOBODY = (SIGNS_IN, THE_PAGE, NEW, TOO_MANY, WITHOUT_TOKEN)  # names that are no business's and no operator's
ONE_AT_A_TIME = (THE_PAGE, TOO_MANY, WITHOUT_TOKEN)  # in a crowd
CROWD = 16  # that wait; of those of nobody, every other turn then is the newest's
MOST_LOOKED_UP = 1_000  # credentials at once


class Waiting(NamedTuple):
    """A request that waits for a thread."""

    token: str  # counts towards its limit; "": no token
    channel: Any


class Turns(ThreadedTaskDispatcher):  # type: ignore[misc]
    """A free thread goes to the name with the fewest threads, then to the first in line; when a request ends, its name
    goes to the end of the line. A name is a business with all its tokens, an operator's token, all who sign in, all who
    load the page, all that is too much of a token, or all others without a valid token; each holds at most half of the
    threads, and all but the first two together leave some to those. Two more threads keep the platform's health checks
    and the other requests from waiting for each other: one for /healthz and refusals (which may hold up to half of all
    threads), and the only one for /readyz.

    Credentials that are new here are looked up, all that wait at once, and then wait for a turn of their business; so
    made-up ones delay them by no more than one look-up. In a crowd without a valid token whoever came last would wait
    for all the others, and whoever came first might wait for ever if the newest always went first: they take turns.
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
        self._taken_from_crowd: Counter[str] = Counter()  # by name
        self._places = count()
        self._place: dict[str, int] = {}  # in the line, by name
        self.set_thread_count(threads + 2)

    def add_task(self, channel: Any) -> None:
        request = channel.requests[0]
        with self.lock:
            name, token = self._name(request)
            self._in_flight[token] += 1
            self._waiting[name].append(Waiting(token, channel))
            self._place.setdefault(name, next(self._places))
            if self._may_run(name):
                self.queue_cv.notify()

    def _name(self, request: Any) -> tuple[str, str]:
        """The name whose threads it takes, and the token that it counts towards."""
        if request.error or request.path == ASKS_NOBODY:
            return ASKS_NOBODY, ""
        if request.path == ASKS_POSTGRES or (request.path == SIGNS_IN and request.command == "POST"):
            return request.path, ""
        if not request.path.startswith("/api/"):
            return THE_PAGE, ""
        shown = self._shown(request)
        # A credential that is made up, or was not looked up yet, has no limit of its own.
        owner = None if shown is None else known_credentials.owner_of(shown.hashed)
        if owner is None:
            if shown is not None and known_credentials.look_up is not None and not request.was_looked_up:
                return NEW, ""
            asks_who = request.path == SIGNS_IN and request.command != "DELETE"
            return (THE_PAGE if asks_who else WITHOUT_TOKEN), ""
        token = f"token {owner.token_id}"  # its sessions count towards it
        if self._most_in_flight and self._in_flight[token] >= self._most_in_flight:
            request.is_too_many = True
            return TOO_MANY, ""
        return (token if owner.business_id is None else f"business {owner.business_id}"), token

    def _shown(self, request: Any) -> Credential | None:
        return credential(request.headers.get("AUTHORIZATION"), request.headers.get("COOKIE"), self._cookie)

    def handler_thread(self, number: int) -> None:
        while (turn := self._next(number)) is not None:
            name, taken = turn
            try:
                if name == NEW:
                    self._look_up([waiting.channel.requests[0] for waiting in taken])
                else:
                    taken[0].channel.service()
            except BaseException:
                self.logger.exception("Exception when serving %s", name)
            with self.lock:
                _subtract(self._running, name)  # what may run now, this thread takes itself
                if name in self._place:
                    self._place[name] = next(self._places)
                for waiting in taken:
                    _subtract(self._in_flight, waiting.token)
            if name == NEW:
                for waiting in taken:
                    self.add_task(waiting.channel)

    def _look_up(self, requests: Sequence[Any]) -> None:
        """Otherwise a business with many new tokens would hold the threads of those without one."""
        for request in requests:
            request.was_looked_up = True
        shown = [(request, one) for request in requests if (one := self._shown(request)) is not None]
        began = time.monotonic()
        look_up = known_credentials.look_up
        try:
            rows = {} if look_up is None else look_up({one for _, one in shown})
        except Exception:  # the application tells what is wrong with Postgres
            return
        for request, one in shown:
            request.looked_up = LookedUp(one, rows.get(one), began)

    def _is_crowded(self, name: str) -> bool:
        return name in OF_NOBODY and len(self._waiting.get(name, ())) > CROWD

    def _next(self, number: int) -> tuple[str, list[Waiting]] | None:
        """Waits for the next request that may run, with its name; of those to be looked up, for all. None: this thread
        must end.
        """
        with self.lock:
            while self.stop_count == 0:
                names = [name for name in self._waiting if self._may_run(name)]
                if names:
                    return self._take(min(names, key=self._rank))
                self.active_count -= 1
                self.queue_cv.wait()
                self.active_count += 1
            self.active_count -= 1
            self.stop_count -= 1
            self.threads.discard(number)
            self.thread_exit_cv.notify()
            return None

    def _rank(self, name: str) -> tuple[int, int]:
        """The lowest goes first. So many that wait of one name neither go before a lone request because their oldest is
        older, nor wait while one lone request after the other comes.
        """
        return self._running[name], self._place[name]

    def _take(self, name: str) -> tuple[str, list[Waiting]]:
        waiting = self._waiting[name]
        if name == NEW:
            taken = [waiting.popleft() for _ in range(min(len(waiting), MOST_LOOKED_UP))]
        elif self._is_crowded(name):
            self._taken_from_crowd[name] += 1
            taken = [waiting.pop() if self._taken_from_crowd[name] % 2 else waiting.popleft()]
            if not self._is_crowded(name):
                self.queue_cv.notify_all()  # now others of them may run too
        else:
            taken = [waiting.popleft()]
        if not waiting:
            del self._waiting[name]
            del self._place[name]
        self._running[name] += 1
        return name, taken

    def _may_run(self, name: str) -> bool:
        if name == ASKS_POSTGRES:
            return not self._running[name]
        others = self._running.total() - self._running[ASKS_NOBODY] - self._running[ASKS_POSTGRES]
        of_nobody = sum(self._running[one] for one in OF_NOBODY)
        if name in OF_NOBODY and of_nobody >= max(1, self._threads - max(1, self._threads // 4)):
            return False
        if name in ONE_AT_A_TIME and self._running[name] and self._is_crowded(name):
            return False  # answered faster, a flood would come back faster: it waits here rather than in the event loop
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
