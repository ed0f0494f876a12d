"""An S3 store in memory whose faults can be chosen: what it does not take, does not know, or answers oddly."""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

Answer = tuple[int, str]


def error(status: int, code: str, message: str = "made up") -> Answer:
    return status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"


@dataclass
class FakeS3:
    """Versions of objects by key; `refuse` may answer a call instead of the store."""

    port: int = 0
    versions: dict[str, list[str]] = field(default_factory=dict)  # key → ids; "mark…" is a delete marker
    versioning: str = ""  # Enabled, Suspended
    locked: set[str] = field(default_factory=set)  # version ids under object lock
    refuse: Callable[[str, str, "dict[str, list[str]]", bytes], Answer | None] = lambda *_: None
    bulk_errors: Callable[[list[str]], str] | None = None  # the Errors of a DeleteObjects, as XML
    calls: list[str] = field(default_factory=list)
    md5: list[bool] = field(default_factory=list)  # is it right?
    headers: list[dict[str, str]] = field(default_factory=list)
    page: int = 1000  # entries of a listing of versions
    tokens: list[str | None] = field(default_factory=list)  # of sessions
    serial: int = 0
    _places: dict[str, tuple[str, int]] = field(default_factory=dict)  # of what a listing has shown

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add(self, *keys: str) -> None:
        for key in keys:
            self.serial += 1
            self.versions.setdefault(key, []).append(f"v{self.serial}")

    def keys(self) -> set[str]:
        """Those with anything left, versions included."""
        return {key for key, ids in self.versions.items() if any(not one.startswith("mark") for one in ids)}

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        parts = urlsplit(target)
        query = parse_qs(parts.query, keep_blank_values=True)
        key = unquote(parts.path).lstrip("/").partition("/")[2]
        name = "DeleteObjects" if "delete" in query else f"{method} {'versions' if 'versions' in query else ''}".strip()
        self.calls.append(name)
        self.tokens.append(headers.get("x-amz-security-token"))
        self.headers.append(headers)
        if (refused := self.refuse(name, key, query, body)) is not None:
            return refused
        if "versioning" in query:
            return 200, f"<VersioningConfiguration>{self._status()}</VersioningConfiguration>"
        if "versions" in query:
            return 200, self._list_versions(query["prefix"][0], query.get("version-id-marker", ["v0"])[0])
        if "delete" in query:
            digest = hashlib.md5(body, usedforsecurity=False).digest()
            self.md5.append(headers.get("content-md5") == base64.b64encode(digest).decode())
            return 200, self._delete_objects(body.decode())
        if method == "DELETE":
            self._delete(key, None)
            return 204, ""
        return 200, "<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>"

    def _status(self) -> str:
        return f"<Status>{self.versioning}</Status>" if self.versioning else ""

    def _delete(self, key: str, version: str | None) -> str | None:
        if version in self.locked:
            return "AccessDenied"
        if version:
            self.versions[key] = [one for one in self.versions.get(key, []) if one != version]
        elif self.versioning:
            self.serial += 1
            self.versions.setdefault(key, []).append(f"mark{self.serial}")
        else:
            self.versions.pop(key, None)
        return None

    def _delete_objects(self, body: str) -> str:
        objects = [
            (unescape(key), version[0] if (version := re.findall("<VersionId>(.*?)</VersionId>", rest)) else None)
            for key, rest in re.findall("<Key>(.*?)</Key>(.*?)</Object>", body, re.DOTALL)
        ]
        if self.bulk_errors is not None:
            return f"<DeleteResult>{self.bulk_errors([key for key, _ in objects])}</DeleteResult>"
        errors = ""
        for key, version in objects:
            if (code := self._delete(key, version)) is not None:
                errors += f"<Error><Key>{escape(key)}</Key><Code>{code}</Code><Message>WORM</Message></Error>"
        return f"<DeleteResult>{errors}</DeleteResult>"

    def _list_versions(self, prefix: str, after: str) -> str:
        """By key and then by age, beginning after a version that may be gone by now."""
        there = [(key, one) for key, ids in self.versions.items() if key.startswith(prefix) for one in ids]
        entries = sorted((key, int(re.sub(r"\D", "", one)), one) for key, one in there)
        entries = [entry for entry in entries if entry[:2] > self._places.get(after, ("", 0))]
        found = ""
        for key, age, one in entries[: self.page]:
            tag = "DeleteMarker" if one.startswith("mark") else "Version"
            found += f"<{tag}><Key>{escape(key)}</Key><VersionId>{one}</VersionId></{tag}>"
            self._places[one] = (key, age)
        more = len(entries) > self.page
        if more:
            found += f"<NextKeyMarker>{escape(key)}</NextKeyMarker><NextVersionIdMarker>{one}</NextVersionIdMarker>"
        return f"<ListVersionsResult><IsTruncated>{str(more).lower()}</IsTruncated>{found}</ListVersionsResult>"


@contextmanager
def fake_s3(store: FakeS3) -> Iterator[FakeS3]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, text = store.answer(self.command, self.path, headers, body)
            data = text.encode()
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", f"https://127.0.0.1:{store.port}{self.path}")
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _reply  # noqa: N815 - http.server's names

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    store.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
