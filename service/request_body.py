"""Falcon middleware: bodies must be small and JSON."""

from io import BytesIO
from typing import Any

import falcon

from service.errors import ApiError, bad_input

MAX_BODY_BYTES = 64 * 1024
MAX_CONTENT_TYPE = 200  # characters


class BodyLimits:
    def process_resource(
        self, request: falcon.Request, _response: falcon.Response, resource: Any, _params: Any
    ) -> None:
        """413 and 415, before anything reads the body. Registered after Authentication: 401 comes first.

        A resource may set a lower `max_body_bytes`: one that is open to all need not parse what can't be right.
        """
        most = getattr(resource, "max_body_bytes", MAX_BODY_BYTES)
        if "chunked" in request.get_header("Transfer-Encoding", default="").lower():
            self._read_chunked(request, most)
        length = request.content_length or 0
        if length > most:
            raise self._too_large(f"{length} bytes", most)
        content_type = request.content_type or ""
        if len(content_type) > MAX_CONTENT_TYPE:
            raise ApiError(415, "unsupported_media_type", f"Found a Content-Type of {len(content_type)} characters")
        if length and content_type.partition(";")[0].strip().lower() != falcon.MEDIA_JSON:
            found = request.content_type or "no Content-Type"
            raise ApiError(415, "unsupported_media_type", f"Found {found}, expected {falcon.MEDIA_JSON}")

    def _read_chunked(self, request: falcon.Request, most: int) -> None:
        """A body without a length: read up to the limit, then treated like any other."""
        try:
            body = request.env["wsgi.input"].read(most + 1)
        except Exception as error:  # each server has its own errors for malformed or truncated chunks
            raise bad_input("The body's chunks are malformed") from error
        if len(body) > most:
            raise self._too_large("more", most)
        request.env["wsgi.input"] = BytesIO(body)
        request.env["CONTENT_LENGTH"] = str(len(body))

    @staticmethod
    def _too_large(found: str, most: int) -> ApiError:
        return ApiError(413, "too_large", f"Found a body of {found}, expected at most {most} bytes")
