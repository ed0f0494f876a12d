"""Every failure as JSON: a sentence, a code and the right status. Stack traces never leave the server."""

from typing import Any

import falcon
import structlog
from sqlalchemy.exc import DBAPIError

from actors.runtime.base.failures import describe, is_transient, is_transient_state, sqlstate

log = structlog.get_logger("longhaul.http")


class ApiError(Exception):
    """A response that is not a success."""

    def __init__(
        self, status: int, code: str, error: str, *, headers: dict[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(error)
        self.status = status
        self.headers = headers or {}
        self.body = {"success": False, "error": error, "code": code, **more}


def bad_input(error: str, code: str = "invalid_input", **more: Any) -> ApiError:
    return ApiError(400, code, error, **more)


def not_found(what: str) -> ApiError:
    return ApiError(404, "not_found", f"{what} was not found")


def add_error_handlers(app: "falcon.App[Any, Any]") -> None:
    app.add_error_handler(Exception, _unexpected)
    app.add_error_handler(falcon.HTTPError, _http)
    app.add_error_handler(ApiError, _api)


def _answer(response: falcon.Response, status: int, body: dict[str, Any]) -> None:
    response.status = status
    response.media = body
    response.text = response.data = None


def _api(_request: falcon.Request, response: falcon.Response, error: ApiError, _params: Any) -> None:
    _answer(response, error.status, error.body)
    response.set_headers(error.headers)


CODES = {
    400: "invalid_input",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
}
SENTENCES = {
    404: "Nothing exists at this address",
    405: "Method not allowed here",
}


def _http(_request: falcon.Request, response: falcon.Response, error: falcon.HTTPError, _params: Any) -> None:
    """A refusal by Falcon itself."""
    status = error.status_code
    said = SENTENCES.get(status) or error.description or error.title or "The request cannot be answered"
    _answer(response, status, {"success": False, "error": said, "code": CODES.get(status, "refused")})
    response.set_headers(error.headers or {})


# Refusals of the verbs in functions/jobs/pause_cancel_resume.sql.
REFUSALS = {
    "LH400": (400, "invalid_input"),
    "LH404": (404, "not_found"),
    "LH409": (409, "wrong_status"),
    "LH423": (409, "job_active"),
}


# SQLSTATE classes and codes that mean something to a caller.
CAUSES = {
    "25006": "The database is read-only at the moment",
    "42501": "The database refuses writes at the moment",
    "53100": "The database is out of disk space",
    "55P03": "The database is blocked by another session's lock at the moment",
}


def cause(state: str | None) -> str:
    """Why the database cannot do something, by SQLSTATE, as a sentence that names no hosts."""
    return CAUSES.get(state or "", "The database is unavailable at the moment")


def outdated(state: str | None) -> str:
    """Why a job's shown state may be outdated."""
    why = cause(state) if is_transient_state(state) else "The job could not be brought up to date"
    return f"{why}; this is the last known state"


def _unexpected(request: falcon.Request, response: falcon.Response, error: Exception, _params: Any) -> None:
    state = sqlstate(error)
    if state in REFUSALS:
        status, code = REFUSALS[state]
        detail = error.orig.diag.message_detail if isinstance(error, DBAPIError) else None  # type: ignore[union-attr]
        more = {"status": detail} if code == "wrong_status" else {"job_id": int(detail)} if detail else {}
        said = describe(error)
        _answer(response, status, {"success": False, "error": said[0].upper() + said[1:], "code": code, **more})
    elif is_transient(error):
        log.warning("http.unavailable", path=request.path, error=describe(error))
        _answer(response, 503, {"success": False, "error": cause(state), "code": "unavailable"})
        response.set_header("Retry-After", "5")
    else:
        log.exception("http.error", method=request.method, path=request.path, exc_info=error)
        said = "Something went wrong on our side"
        _answer(response, 500, {"success": False, "error": said, "code": "internal_error"})
