"""Logs one line per request, with an id that the response carries too."""

import re
import time
from typing import Any
from uuid import uuid4

import falcon
import structlog

log = structlog.get_logger("longhaul.access")

MOST_SHOWN = 20  # characters of a method
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")  # an id set by a router in front


class AccessLog:
    """Falcon middleware; comes first, so that it sees what the others refuse."""

    def process_request(self, request: falcon.Request, response: falcon.Response) -> None:
        given = request.get_header("X-Request-Id", default="")
        request.context.request_id = given if REQUEST_ID.fullmatch(given) else uuid4().hex
        request.context.began = time.monotonic()
        response.set_header("X-Request-Id", request.context.request_id)

    def process_response(
        self, request: falcon.Request, response: falcon.Response, _resource: Any, _succeeded: bool
    ) -> None:
        if request.path == "/healthz":
            return
        began = getattr(request.context, "began", None)  # none if Falcon refuses the request at once
        status = falcon.http_status_to_code(response.status)
        caller = getattr(request.context, "caller", None)
        write = log.warning if status in (401, 403) else log.info
        write(
            "http.request",
            method=request.method[:MOST_SHOWN],
            route=request.uri_template or "unknown",
            status=status,
            actor=caller.name if caller else None,
            token=caller.token_id if caller else None,
            ms=None if began is None else round(1000 * (time.monotonic() - began), 1),
            request_id=getattr(request.context, "request_id", None),
        )
