"""Requests that the web server refuses before the application sees them: the responses, and the log lines."""

import json
from threading import Lock
from uuid import uuid4

import structlog
from waitress.task import ErrorTask

log = structlog.get_logger("longhaul.server")

MAX_HEAD_BYTES = 32 * 1024
MAX_BODY_BYTES = 100 * 1024  # read at all; the API's own limit is smaller, and is checked after the 401

LINES_A_SECOND = 10

CODES = {
    400: "invalid_request",
    413: "too_large",
    431: "head_too_large",
    501: "not_implemented",
    500: "internal_error",
}
SENTENCES = {
    400: "The request is not valid HTTP",
    413: f"Found a body of more than {MAX_BODY_BYTES} bytes",
    431: f"Found a request line and headers of more than {MAX_HEAD_BYTES} bytes",
    501: "This way of sending a body is not supported",
    500: "Something went wrong on our side",
}


class Lines:
    """A log line for each refusal, up to ten a second, then only a count. They quote nothing from the client."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._written = self._left_out = 0

    def write(self, status: int, code: str, request_id: str) -> None:
        with self._lock:
            if self._written >= LINES_A_SECOND:
                self._left_out += 1
                return
            self._written += 1
        log.warning("http.refused", status=status, code=code, request_id=request_id)

    def begin_second(self) -> None:
        with self._lock:
            left_out, self._written, self._left_out = self._left_out, 0, 0
        if left_out:
            log.warning("http.refusals_not_logged", number=left_out)


lines = Lines()  # of this process


class Refusal(ErrorTask):  # type: ignore[misc]
    """A refusal by the server itself, as JSON like every other response."""

    def execute(self) -> None:
        status = int(getattr(self.request.error, "code", 400))
        status_line = self.request.error.to_response(None)[0]
        code = CODES.get(status, "refused")
        request_id = uuid4().hex
        lines.write(status, code, request_id)
        body = json.dumps({"success": False, "error": SENTENCES.get(status, status_line), "code": code})
        self.status = status_line
        self.response_headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Request-Id", request_id),
        ]
        self.set_close_on_finish()
        self.channel.refused = True
        self.content_length = len(body)
        if self.request.is_head:
            self.wrote_header = True
            self.channel.write_soon(self.build_response_header())
        else:
            self.write(body.encode())
