"""Log-ins that somebody waits for: 10 s at most, two at a time in a process, and one of each business."""

from collections.abc import Callable
from threading import BoundedSemaphore, Lock, Thread
from typing import Any

from actors.mail.errors import (
    CertificateError,
    FolderMissingError,
    LoginRefusedError,
    MailError,
    ThrottledError,
    UnreachableError,
)
from actors.mail.imap import ImapMailbox
from actors.mail.wire import BadServerError
from actors.outside.addresses import ForbiddenAddressError, UnknownHostError
from service.errors import ApiError

SECONDS = 10
AT_ONCE = 2

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


class LogIns:
    def __init__(self) -> None:
        self._places = BoundedSemaphore(AT_ONCE)
        self._lock = Lock()
        self._businesses: set[int] = set()

    def try_one(self, business_id: int, log_in: Callable[[], ImapMailbox]) -> str:
        """Logs in and out again; returns the server's greeting. ApiError says what was wrong."""
        outcome: list[Any] = []
        self._take_place(business_id)

        def work() -> None:
            try:
                mailbox = log_in()
                outcome.append(mailbox.greeting)
                mailbox.close()
            except Exception as error:
                outcome.append(error)
            finally:  # also when nobody waits any more: until then it counts
                self._leave(business_id)

        thread = Thread(target=work, name="log-in", daemon=True)
        thread.start()
        thread.join(SECONDS)
        if not outcome:
            raise ApiError(502, "mail_server_unreachable", f"The mail server did not let us in within {SECONDS} s")
        if isinstance(outcome[0], Exception):
            raise_answer(outcome[0])
        return str(outcome[0])

    def _take_place(self, business_id: int) -> None:
        with self._lock:
            if business_id in self._businesses or not self._places.acquire(blocking=False):
                seconds = {"Retry-After": "5"}
                raise ApiError(429, "too_many_requests", "Another log-in is in hand; try again in 5 s", headers=seconds)
            self._businesses.add(business_id)

    def _leave(self, business_id: int) -> None:
        with self._lock:
            self._businesses.discard(business_id)
            self._places.release()


def raise_answer(error: Exception) -> None:
    """As an ApiError in the error's own words; what is no error of mail as it is."""
    for kind, (status, code) in ANSWERS.items():
        if isinstance(error, kind):
            raise ApiError(status, code, str(error)) from error
    raise error
