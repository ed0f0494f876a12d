"""The application and the command line in the test's own process."""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import falcon.testing
import pytest

from actors.runtime.base.config import Settings
from service.__main__ import main
from service.app import create_app
from service.openapi import Plugin
from sql.states import ACTIVE

POLLED = re.compile(r"/api/((receipts/)?jobs/[0-9]+|jobs)(\?.*)?")


class Api:
    """Calls as one caller. Every answer must be JSON with `success`, whatever its status."""

    def __init__(self, client: falcon.testing.TestClient, token: str | None) -> None:
        self._client = client
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, **options: Any) -> falcon.testing.Result:
        return self.call("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> falcon.testing.Result:
        """A body of bytes is sent as it is, any other as JSON."""
        if body is not None:
            options["body" if isinstance(body, bytes) else "json"] = body
        return self.call("POST", path, **options)

    def call(self, method: str, path: str, **options: Any) -> falcon.testing.Result:
        options["headers"] = self._headers | options.get("headers", {})
        result = self._client.simulate_request(method, path, **options)
        assert result.json["success"] is (result.status_code < 400)
        if result.status_code >= 400:
            assert result.json["error"]
            assert result.json["code"]
        if method == "GET" and POLLED.fullmatch(path) and result.status_code == 200:
            check_headers_of_what_is_polled(result)
        elif path.startswith("/api"):
            assert result.headers["cache-control"] == "no-store"
            assert "etag" not in result.headers
        return result


def check_headers_of_what_is_polled(result: falcon.testing.Result) -> None:
    """A job or the list of them may be kept, by its caller only, who asks each time whether it is still so."""
    assert result.headers["cache-control"] == "private, no-cache"
    assert re.fullmatch('W/"([0-9a-f]{32}|[0-9a-f]{1,16}-[a-z]+)"', result.headers["etag"])
    assert result.headers["vary"] == "Authorization, Cookie"
    assert result.headers.get("retry-after") == ("2" if result.json.get("status") in ACTIVE else None)


def changed(settings: Settings, **changes: Any) -> Settings:
    """With these variables, be they general ones or those of a kind."""
    general = {name: value for name, value in changes.items() if name in Settings.model_fields}
    of_kinds = {name: str(value) for name, value in changes.items() if name not in Settings.model_fields}
    return settings.model_copy(update={**general, "of_kinds": settings.of_kinds | of_kinds})


@pytest.fixture
def api(settings: Settings, make: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Api]:
    """api(business_id, role="owner", **settings) → a caller; api() has no token."""

    monkeypatch.setattr(Plugin, "checks_answers", True)

    def caller(business_id: int | None = None, role: str | None = None, **changes: Any) -> Api:
        client = falcon.testing.TestClient(create_app(changed(settings, **changes)))
        role = role or ("owner" if business_id else None)
        return Api(client, make.token(business_id, role) if role else None)

    return caller


@pytest.fixture
def workers_are(sql: Any) -> Callable[..., None]:
    """workers_are({9: "1 s"}, …): from now on these are seen, and silent for so long (None: that is not known)."""

    def seen(silent: dict[int, str | None], queues: str = "{maintenance}", kinds: str | None = None) -> None:
        for worker in silent:
            sql(
                """INSERT INTO workers (id, hostname, pid, queues, kinds, release)
                   VALUES (:id, 'dyno7', 42, CAST(:queues AS text[]), CAST(:kinds AS text[]), '')
                   ON CONFLICT (id) DO UPDATE SET queues = excluded.queues, kinds = excluded.kinds""",
                id=worker, queues=queues, kinds=kinds,
            )  # fmt: skip
        rows = [f"({worker}, 0, 10, {repr(how) if how else 'NULL'})" for worker, how in silent.items()] or [
            "(0, 0, 0, '0')"
        ]
        body = f"""SELECT worker, pid, CAST(role AS oid), CAST(silent AS interval)
                   FROM (VALUES {", ".join(rows)}) AS seen (worker, pid, role, silent) WHERE worker > 0"""
        for name in ("worker_sessions", "worker_silences"):
            sql(f"""CREATE OR REPLACE FUNCTION {name}() RETURNS TABLE (worker_id integer, session_pid integer,
                        role_id oid, silent_for interval) LANGUAGE sql AS $$ {body} $$""")

    return seen


@pytest.fixture
def reads_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes for the limit of reads: on a slow machine it would be earned again between two of them."""
    monkeypatch.setattr("service.rate_limits.time", SimpleNamespace(monotonic=lambda: 100.0))


@dataclass
class Done:
    returncode: object
    stdout: str
    stderr: str


@pytest.fixture
def command(environment, capsys):
    """command("token", …): runs it with this environment only; NAME=None in `changes` leaves a variable out."""

    def run(*arguments: object, **changes: str | None) -> Done:
        given = {**environment, "PATH": os.environ["PATH"], **changes}
        given = {name: value for name, value in given.items() if value is not None}
        with patch.dict(os.environ, given, clear=True), patch.object(sys, "argv", ["service", *map(str, arguments)]):
            try:
                code: object = main()
            except SystemExit as end:
                code = end.code
        return Done(code, *capsys.readouterr())

    return run
