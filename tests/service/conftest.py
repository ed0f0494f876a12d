"""The application in the test's own process."""

from collections.abc import Callable
from typing import Any

import falcon.testing
import pytest

from actors.runtime.base.config import Settings
from service.app import create_app


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
        if path.startswith("/api"):
            assert result.headers["cache-control"] == "no-store"
        return result


@pytest.fixture
def api(settings: Settings, make: Any) -> Callable[..., Api]:
    """api(business_id, role="owner", **settings) → a caller; api() has no token."""

    def caller(business_id: int | None = None, role: str | None = None, **changes: Any) -> Api:
        client = falcon.testing.TestClient(create_app(settings.model_copy(update=changes)))
        role = role or ("owner" if business_id else None)
        return Api(client, make.token(business_id, role) if role else None)

    return caller
