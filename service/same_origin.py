"""Does this request come from our own page? Browsers send the cookie with any page's requests."""

from urllib.parse import urlsplit

import falcon

from actors.runtime.base.config import Settings
from service.errors import ApiError

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")  # they change nothing


def require_same_origin(request: falcon.Request, settings: Settings) -> None:
    """403 unless the browser says that our page asks: with `Sec-Fetch-Site` (over TLS or on localhost) or `Origin`.

    No page can set either header. If both are missing, it is not a recent browser.
    """
    site = request.get_header("Sec-Fetch-Site")
    origin = request.get_header("Origin")
    if site is not None:
        if site != "same-origin":
            raise _refused(f"Found Sec-Fetch-Site: {site[:40]}, expected same-origin")
    elif origin is None:
        raise _refused("Found neither Sec-Fetch-Site nor Origin; send a token instead of a cookie")
    elif not _is_ours(origin, request, settings):
        raise _refused(f"Found Origin: {origin[:80]}, expected the page's own; PUBLIC_URL says what that is")


def comes_from_a_browser(request: falcon.Request) -> bool:
    return request.get_header("Sec-Fetch-Site") is not None or request.get_header("Origin") is not None


def _is_ours(origin: str, request: falcon.Request, settings: Settings) -> bool:
    """Compares only the host if PUBLIC_URL is not set: we can't know whether a router terminates TLS."""
    if settings.PUBLIC_URL:
        expected = urlsplit(settings.PUBLIC_URL)
        return origin == f"{expected.scheme}://{expected.netloc}"
    return urlsplit(origin).netloc == request.get_header("Host", default="")


def _refused(error: str) -> ApiError:
    return ApiError(403, "cross_origin", error)
