"""Weak ETags: an unchanged response need not be sent again."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import falcon

MAX_TAGS = 1000  # characters of If-None-Match: reading thousands of tags takes longer than the response
RELATIVE = {"seconds_since_heartbeat", "rate", "eta_seconds", "why"}  # to now: they change by themselves
VERSION = re.compile(r'W/"([0-9a-f]{1,16})-([a-z]+)"')


def known_version(request: falcon.Request) -> str | None:
    """The version of a moving job that the client has (If-None-Match), if it got it in the caller's role."""
    tags = request.get_header("If-None-Match", default="")
    found = VERSION.search(tags) if len(tags) <= MAX_TAGS else None
    return found[1] if found is not None and found[2] == request.context.caller.role else None


def reply_unless_known(
    request: falcon.Request, response: falcon.Response, body: Mapping[str, Any] | None, version: str | None = None
) -> None:
    """The response, a job or a list of jobs, with its ETag; or 304 if the client has it already (If-None-Match).

    `version` of a moving job: its tag is made of that and of the role, on which the links depend. `body`: None if the
    client has this version.
    """
    if body is None or version is not None:
        tag = falcon.ETag(f"{version}-{request.context.caller.role}")
    else:
        tag = falcon.ETag(_hash(body))
    tag.is_weak = True
    response.etag = tag.dumps()
    response.cache_control = ["private", "no-cache"]
    response.append_header("Vary", "Authorization, Cookie")
    if body is None or _knows(request, tag):
        response.status = falcon.HTTP_304
        return
    response.media = {"success": True, **body}


def _hash(body: Mapping[str, Any]) -> str:
    known = {**body, "jobs": [_lasting(job) for job in body["jobs"]]} if "jobs" in body else _lasting(body)
    return hashlib.sha256(repr(known).encode()).hexdigest()[:32]  # sooner made than the JSON


def _lasting(job: Mapping[str, Any]) -> dict[str, Any]:
    lasting = {name: value for name, value in job.items() if name not in RELATIVE}
    return lasting | {"reason": job["why"]["reason"]}  # its sentence counts seconds


def _knows(request: falcon.Request, tag: falcon.ETag) -> bool:
    asked = len(request.get_header("If-None-Match", default=""))
    return asked <= MAX_TAGS and any(one == "*" or one == tag for one in request.if_none_match or ())
