"""A small HTTP client for demo, dev and the tests."""

import json
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple


class Answer(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]  # names in lower case


class Client:
    def __init__(self, address: str, token: str | None = None) -> None:
        self.address = address
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str) -> Answer:
        return self._send("GET", path, None)

    def post(self, path: str, body: Any = None) -> Answer:
        return self._send("POST", path, body)

    def _send(self, method: str, path: str, body: Any) -> Answer:
        """The response, whatever its status. OSError if there is none."""
        data = None if body is None else json.dumps(body)
        headers = self.headers | ({"Content-Type": "application/json"} if data else {})
        connection = HTTPConnection(self.address.removeprefix("http://"), timeout=30)
        try:
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            lower = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, json.load(response), lower)
        except HTTPException as error:
            raise ConnectionError(repr(error)) from error
        finally:
            connection.close()
