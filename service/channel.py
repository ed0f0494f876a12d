"""A connection of the web server: how long each phase may last, and which connection is replaced first."""

import socket
import time
from contextlib import suppress
from typing import Any

from waitress.channel import HTTPChannel
from waitress.utilities import BadRequest

from service.refusals import Refusal
from service.request_head import Parser
from service.task import Task

HEAD_SECONDS = 10  # from the start of the connection, or the request's first byte, to the end of the head
BODY_SECONDS = 30
ANSWER_SECONDS = 30  # until the client has read it
IDLE_SECONDS = 75  # between two requests; routers keep theirs open for about a minute
SECONDS_IN_A_CROWD = {"head": 2, "body": 5, "answer": 5, "idle": 2}  # when most connections are in use
SECONDS_AT_THE_END = {"answer": 5}  # when the process is to end
PROMPT_SECONDS = 1  # at the limit, whoever has kept us waiting for longer is replaced before whoever came just now
SLOW, IDLE, BODY, PROMPT = range(4)  # who is replaced first; see rank()
LINGER_SECONDS = 2  # time for a client refused mid-request to read why


class Channel(HTTPChannel):  # type: ignore[misc]
    """One connection."""

    task_class = Task
    error_task_class = Refusal
    parser_class = Parser
    refused = False  # mid-request: the rest must still be read, or the client sees a reset
    lingering = False
    close_when_flushed: bool  # mypy can't see it in waitress
    request: Any
    sent_continue: bool
    served = 0  # requests that a thread has begun to serve …
    finished = 0  # …, has served …
    handed_over = 0  # … and those that were read completely
    _phase: tuple[object, ...] = ("head", 0)
    _was_heard = False

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._since = self.waits_since = time.monotonic()
        super().__init__(*arguments, **named)

    def check_deadline(self, now: float, *, crowded: bool, ends: bool = False) -> None:
        """Closes the connection if its phase has lasted too long; called once a second."""
        phase, limit = self._now_in()
        if crowded or ends:
            limit = (SECONDS_AT_THE_END if ends else SECONDS_IN_A_CROWD).get(str(phase[0]), limit)
        if phase != self._phase:
            self._phase, self._since = phase, now
        elif now - self._since > limit:
            self.handle_close()

    def is_idle(self) -> bool:
        """Waits for its client to send."""
        is_closing = self.will_close or self.close_when_flushed or self.lingering
        return not (self.requests or self.total_outbufs_len or is_closing)

    def is_done(self) -> bool:
        """Nothing is in hand or on its way, and the client has had a second to begin its next request, or its first."""
        has_all = self.is_idle() and self.request is None and self.finished == self.handed_over
        return has_all and time.monotonic() - self.waits_since > 1

    def is_quiet(self) -> bool:
        """Nobody but the event loop changes it: it waits for its client to send, or for a thread."""
        return self.served < self.handed_over or self.is_idle()

    def rank(self) -> tuple[int, float] | None:
        """At the limit, the lowest rank is replaced first: who was refused, or for a second has sent no head or read no
        response, then between two requests, then in the middle of a body, and last those who came just now; within
        each, the oldest. None: it waits for us, or its response is on its way.
        """
        phase, _ = self._now_in()
        if self.lingering:
            return SLOW, self._since
        is_prompt = phase != self._phase or time.monotonic() - self._since <= PROMPT_SECONDS
        if phase[0] == "answer":
            return None if is_prompt else (SLOW, self._since)
        if not self.is_idle():
            return None
        if self.request is None and self.served:
            return IDLE, self.last_activity
        if self.request is not None and self.request.headers_finished:
            return BODY, self._since
        return PROMPT if is_prompt else SLOW, self._since

    def is_new(self) -> bool:
        """Something of its first request is here, and nothing of it was read yet: the next turn will."""
        return not self._was_heard and self.has_unread()

    def has_unread(self) -> bool:
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:  # it has sent nothing, or has gone
            return False

    def _now_in(self) -> tuple[tuple[object, ...], float]:
        """The phase, which differs for each request of the connection, and how long it may last."""
        if self.lingering:
            return ("linger",), LINGER_SECONDS
        if self.requests:
            return ("serve", self.served), float("inf")  # each statement has its own limit
        if self.total_outbufs_len:
            return ("answer", self.served), ANSWER_SECONDS
        request = self.request
        if request is None:
            return ("idle", self.served) if self.served else ("head", 0), IDLE_SECONDS if self.served else HEAD_SECONDS
        if request.headers_finished:
            return ("body", self.served, id(request)), BODY_SECONDS
        return ("head", self.served) if self.served else ("head", 0), HEAD_SECONDS

    def service(self) -> None:
        self.served += 1
        self._map.ask(self._fileno)  # until it is quiet again
        super().service()
        self.waits_since = time.monotonic()
        self.finished += 1  # last: the event loop may look at any moment

    def readable(self) -> bool:
        return self.lingering or (not self.refused and bool(super().readable()))

    def handle_read(self) -> None:
        try:
            data = self.socket.recv(self.adj.recv_bytes)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._was_heard = True
        if data and not self.lingering:
            self.last_activity = time.time()
            self.received(data)
        elif not data and self.request is not None and not self.requests and not self.refused:
            self._refuse_half()
        elif not data:
            self.handle_close()

    def received(self, data: bytes) -> bool:
        """One request at a time. If a client sends more without waiting for the response, that is dropped and the
        connection is closed after the response: otherwise unread responses would pile up here.
        """
        with self.requests_lock:
            while data and not (self.will_close or self.close_when_flushed or self.requests):
                if self.request is None:
                    data = data.lstrip(b"\r\n")  # thousands of blank lines would be as many empty requests
                    if not data:
                        break
                    self.request = self.parser_class(self.adj)
                used = self.request.received(data)
                waits = self.request.expect_continue and self.request.headers_finished and not self.request.completed
                if waits and not self.sent_continue:  # send_continue() would reopen a complete request
                    self.send_continue()
                data = data[used:]
                if self.request.completed:
                    request, self.request, self.sent_continue = self.request, None, False
                    if not request.empty:
                        if data:
                            request.headers["CONNECTION"] = "close"
                            self.refused = True
                        self._hand_over(request)
        return True

    def _hand_over(self, request: Any) -> None:
        """To whichever thread serves it. Once the process is about to end, the connection is closed after the response:
        otherwise a client that always has a request in hand would be cut off in the middle of its last one.
        """
        if not self.server.accepting:
            request.headers["CONNECTION"] = "close"
        self.requests.append(request)
        self.handed_over += 1
        self.server.add_task(self)

    def _refuse_half(self) -> None:
        """The client has stopped sending in the middle of a request, but may still read."""
        with self.requests_lock:
            request, self.request = self.request, None
            request.completed, request.error = True, BadRequest("it ends in the middle")
            self.refused = True
            self._hand_over(request)

    def handle_write(self) -> None:
        if self.refused and self.close_when_flushed and not self.will_close:
            self._flush_exception(self._flush_some)
            if not self.total_outbufs_len:
                self.close_when_flushed, self.lingering = False, True
                with suppress(OSError, AttributeError):  # already closed
                    self.socket.shutdown(socket.SHUT_WR)
        else:
            super().handle_write()
