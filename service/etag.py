"""Weak ETags: an unchanged response need not be sent again."""

import hashlib
from collections.abc import Mapping
from typing import Any

import falcon

MAX_TAGS = 1000  # characters of If-None-Match: reading thousands of tags takes longer than the response
RELATIVE = {"seconds_since_heartbeat", "rate", "eta_seconds", "why"}  # to now: they change by themselves


def reply_unless_known(request: falcon.Request, response: falcon.Response, body: Mapping[str, Any]) -> None:
    """The response, a job or a list of jobs, with its ETag; or 304 if the client has it already (If-None-Match)."""
    known = {**body, "jobs": [_lasting(job) for job in body["jobs"]]} if "jobs" in body else _lasting(body)
    tag = falcon.ETag(hashlib.sha256(repr(known).encode()).hexdigest()[:32])  # sooner made than the JSON
    tag.is_weak = True
    response.etag = tag.dumps()
    response.cache_control = ["private", "no-cache"]
    response.append_header("Vary", "Authorization, Cookie")
    asked = len(request.get_header("If-None-Match", default=""))
    if asked <= MAX_TAGS and any(one == "*" or one == tag for one in request.if_none_match or ()):
        response.status = falcon.HTTP_304
        return
    response.media = {"success": True, **body}


def _lasting(job: Mapping[str, Any]) -> dict[str, Any]:
    lasting = {name: value for name, value in job.items() if name not in RELATIVE}
    return lasting | {"reason": job["why"]["reason"]}  # its sentence counts seconds
