"""Does this request come from our own page, drawn for this user? Browsers send the cookie with any page's requests."""

from urllib.parse import urlsplit

import falcon

from actors.runtime.base.config import Settings
from service.errors import ApiError

DRAWN_FOR = "X-Longhaul-Token"  # the id of the token that the page was drawn for
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")  # they change nothing


def require_our_page(request: falcon.Request, token_id: int, settings: Settings) -> None:
    """For requests with a cookie: 401 if the page was drawn for another token; 403 if another page makes a change."""
    drawn_for = request.get_header(DRAWN_FOR)
    if drawn_for is not None and drawn_for != str(token_id):
        error = f"This browser is now signed in with token {token_id}, but this page was drawn for another; reload it"
        raise ApiError(401, "other_session", error)
    if request.method not in SAFE_METHODS:
        require_same_origin(request, settings)


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
    host = request.get_header("Host")
    return bool(host) and origin.partition("://")[2] == host  # a browser's Origin has nothing behind the host


def _refused(error: str) -> ApiError:
    return ApiError(403, "cross_origin", error)
