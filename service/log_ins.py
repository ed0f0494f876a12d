"""Log-ins that somebody waits for: 10 s at most, some at a time in a process, and one of each business."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock, Thread
from typing import NoReturn

from sqlalchemy import Engine

from actors.mail.errors import (
    CertificateError,
    FolderMissingError,
    LoginRefusedError,
    MailError,
    ThrottledError,
    UnreachableError,
)
from actors.mail.line import Line
from actors.mail.mailbox import Mailbox
from actors.mail.wire import BadServerError
from actors.outside.addresses import ForbiddenAddressError, UnknownHostError
from service.errors import ApiError
from service.failed_log_ins import FailedLogIns

SECONDS = 10
AT_ONCE, WAITING = 4, 2  # of the 8 threads that the Procfile gives a web process; the rest are left to all else
WAIT_SECONDS = 5  # for a place
LONG_SECONDS = 3  # that a log-in may take before it counts as one that failed: it keeps others waiting

# What was typed is wrong (400), or the server is (502).
ANSWERS: dict[type[Exception], tuple[int, str]] = {
    BadServerError: (400, "invalid_input"),
    ForbiddenAddressError: (400, "forbidden_host"),
    UnknownHostError: (400, "unknown_host"),
    CertificateError: (400, "bad_certificate"),
    LoginRefusedError: (400, "login_refused"),
    FolderMissingError: (400, "folder_missing"),
    ThrottledError: (502, "mail_server_throttles"),
    UnreachableError: (502, "mail_server_unreachable"),
    MailError: (502, "mail_server_unreachable"),
}

FAILURES = tuple(ANSWERS)


class LogIns:
    def __init__(self, engine: Engine) -> None:
        self._failed = FailedLogIns(engine)
        self._places = BoundedSemaphore(AT_ONCE)
        self._lock = Lock()
        self._businesses: set[int] = set()  # that have a place, or wait for one

    def try_one(self, business_id: int, log_in: Callable[[Line], Mailbox]) -> str:
        """Logs in and out again; returns the server's greeting. ApiError says what was wrong."""
        with self._place(business_id):
            self._failed.refuse(business_id)
            began = time.monotonic()
            outcome = _within_limits(log_in)
            if isinstance(outcome, FAILURES) or time.monotonic() - began >= LONG_SECONDS:
                self._failed.spend(business_id)
        if isinstance(outcome, Exception):
            raise_answer(outcome)
        return outcome

    @contextmanager
    def _place(self, business_id: int) -> Iterator[None]:
        with self._lock:
            if business_id in self._businesses:
                raise _busy("Another log-in of this business is in hand")
            if len(self._businesses) >= AT_ONCE + WAITING:
                raise _busy("Many others log in at the moment")
            self._businesses.add(business_id)
        try:
            if not self._places.acquire(timeout=WAIT_SECONDS):
                raise _busy("Many others log in at the moment")
            try:
                yield
            finally:
                self._places.release()
        finally:
            with self._lock:
                self._businesses.discard(business_id)


def _within_limits(log_in: Callable[[Line], Mailbox]) -> str | Exception:
    """The greeting, or why there is none. A thread that looks up a slow name for longer finds its line cut."""
    outcome: list[str | Exception] = []
    line = Line(SECONDS)

    def work() -> None:
        try:
            mailbox = log_in(line)
            outcome.append(mailbox.greeting)
            mailbox.close()
        except Exception as error:
            outcome.append(error)

    thread = Thread(target=work, name="log-in", daemon=True)
    thread.start()
    thread.join(SECONDS)
    if thread.is_alive():
        line.cut()
    return outcome[0] if outcome else UnreachableError(f"The mail server did not let us in within {SECONDS} s")


def _busy(found: str) -> ApiError:
    return ApiError(429, "too_many_requests", f"{found}; try again in 5 s", headers={"Retry-After": "5"})


def raise_answer(error: Exception) -> NoReturn:
    """As an ApiError in the error's own words; what is no error of mail as it is."""
    for kind, (status, code) in ANSWERS.items():
        if isinstance(error, kind):
            raise ApiError(status, code, str(error)) from error
    raise error
