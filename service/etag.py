"""Weak ETags: an unchanged response need not be sent again."""

import hashlib
from collections.abc import Mapping
from typing import Any

import falcon

from service.json_handler import dumps

MAX_TAGS = 1000  # characters of If-None-Match: reading thousands of tags takes longer than the response
RELATIVE = {"seconds_since_heartbeat", "rate", "eta_seconds", "why"}  # to now: they change by themselves


def reply_unless_known(request: falcon.Request, response: falcon.Response, body: Mapping[str, Any]) -> None:
    """The response with its ETag; or 304 if the client has it already (If-None-Match)."""
    known = {name: value for name, value in body.items() if name not in RELATIVE}
    known["reason"] = body["why"]["reason"]  # its sentence counts seconds
    tag = falcon.ETag(hashlib.sha256(dumps(known).encode()).hexdigest()[:32])
    tag.is_weak = True
    response.etag = tag.dumps()
    response.cache_control = ["private", "no-cache"]
    response.append_header("Vary", "Authorization, Cookie")
    asked = len(request.get_header("If-None-Match", default=""))
    if asked <= MAX_TAGS and any(one == "*" or one == tag for one in request.if_none_match or ()):
        response.status = falcon.HTTP_304
        return
    response.media = {"success": True, **body}
