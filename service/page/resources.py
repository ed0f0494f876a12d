"""`/` and `/assets/…`: open to all, asked of nobody, counted for nobody."""

import falcon

from service.errors import not_found
from service.page.assets import LANGUAGES, File, load

YEAR = 365 * 24 * 3600

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' {script_hash}",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'none'",  # a form that is sent without our script would put the token into an address
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


def _send(request: falcon.Request, response: falcon.Response, file: File) -> None:
    response.content_type = file.content_type
    response.append_header("Vary", "Accept-Encoding")
    if _takes_gzip(request.get_header("Accept-Encoding", default="")):
        response.set_header("Content-Encoding", "gzip")
        response.data = file.compressed
    else:
        response.data = file.data


def _takes_gzip(accepted: str) -> bool:
    codings = [coding.replace(" ", "").lower() for coding in accepted.split(",")]
    return any(coding == "gzip" or (coding.startswith("gzip;q=") and coding[7:].strip("0.")) for coding in codings)


class Page:
    open = True

    def __init__(self) -> None:
        site = load()
        self._pages = site.pages
        self._headers = {**HEADERS, "Content-Security-Policy": POLICY.format(script_hash=site.script_hash)}

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.set_headers(self._headers)
        _send(request, response, self._pages[_language(request)])


def _language(request: falcon.Request) -> str:
    """Most likely the one that the page will speak; it knows better, as it remembers what was chosen before."""
    accepted = request.get_header("Accept-Language", default="").split(",")
    wanted = [tag.strip()[:2].lower() for tag in (request.get_param("lang", default=""), *accepted)]
    return next((tag for tag in wanted if tag in LANGUAGES), LANGUAGES[0])


class Asset:
    open = True

    def __init__(self) -> None:
        self._files = load().files

    def on_get(self, request: falcon.Request, response: falcon.Response, name: str) -> None:
        file = self._files.get(f"/assets/{name}")
        if file is None:
            gone = not_found("This file")
            gone.headers = {"Cache-Control": "no-store"}  # another process may have it: a newer or an older release
            raise gone
        response.cache_control = ["public", f"max-age={YEAR}", "immutable"]
        response.set_header("Cross-Origin-Resource-Policy", "same-origin")
        _send(request, response, file)
