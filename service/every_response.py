"""Falcon middleware: HEAD is GET without a body; caches keep no response of the API, and browsers guess no type."""

from typing import Any

import falcon


class EveryResponse:
    def process_request(self, request: falcon.Request, _response: falcon.Response) -> None:
        if request.method == "HEAD":
            request.context.is_head = True
            request.method = "GET"

    def process_response(
        self, request: falcon.Request, response: falcon.Response, _resource: Any, _succeeded: bool
    ) -> None:
        if getattr(request.context, "is_head", False):
            request.method = "HEAD"  # so that Falcon leaves the body out
        if request.path.startswith("/api") and not response.get_header("Cache-Control"):
            response.cache_control = ["no-store"]
        response.set_header("X-Content-Type-Options", "nosniff")
