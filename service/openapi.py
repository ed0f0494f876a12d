"""The description of the API: it validates each request, and is served at /api/openapi.json and /api/docs."""

import json
import re
from functools import cached_property
from html import escape
from typing import Any

import falcon
from pydantic import BaseModel, ConfigDict
from spectree import Response, SecurityScheme, SpecTree
from spectree.models import InType, SecureType, SecuritySchemeData
from spectree.plugins.falcon_plugin import FalconPlugin

from actors.runtime.jobs.params import Given, sentence, sentences
from service.credentials import COOKIE
from service.errors import bad_input
from service.json_handler import MAX_FIELDS

MAX_ID = 2**63 - 1


class Input(Given):
    """A query or a body."""


class NoQuery(Input):
    """The query of a call without parameters."""


class Success(BaseModel):
    success: bool


class Failure(BaseModel):
    """Every failure; some carry more: the running job's progress, or `fields`: what is wrong with each field."""

    model_config = ConfigDict(extra="allow")

    success: bool
    error: str
    code: str


def parse_id(value: str, what: str = "job id") -> int:
    """An id from a path; 400 if it is not a number, or does not fit bigint."""
    if not re.fullmatch(r"[0-9]{1,19}", value, re.ASCII) or int(value) > MAX_ID:
        raise bad_input(f"Found the {what} {value[:40]!r}, expected a number from 0 to {MAX_ID}")
    return int(value)


class Plugin(FalconPlugin):
    """Ids in paths are strings to Falcon, so that a bad one is a 400; the document gives their type.

    Responses are checked against the document in the tests only: the check costs as much as the response, and a user
    is better off with a misdescribed response than with a 500.
    """

    checks_answers = False

    def validate_request(self, request: Any, *models: Any) -> None:
        """Each parameter that a model does not know is an error, as with the fields of a body."""
        if len(request.params) > MAX_FIELDS:
            raise bad_input(f"Found {len(request.params)} parameters, expected at most {MAX_FIELDS}")
        super().validate_request(request, *models)

    def validate_response(self, response: Any, model: Any, skip_validation: bool, force_resp_serialize: bool) -> Any:
        if self.checks_answers:
            return super().validate_response(response, model, skip_validation, force_resp_serialize)
        return None

    def parse_path(self, route: Any, path_parameter_descriptions: Any) -> tuple[str, list[dict[str, Any]]]:
        path, parameters = super().parse_path(route, path_parameter_descriptions)  # type: ignore[no-untyped-call]
        for parameter in parameters:
            parameter["schema"] = {"type": "integer", "format": "int64", "minimum": 0, "maximum": MAX_ID}
        return path, parameters

    def register_route(self, app: Any) -> None:
        """The document's routes are in the route table like all others."""


def _refuse_invalid(_request: Any, _response: Any, error: Any, _resource: Any, _adapter: Any) -> None:
    if error is None:
        return
    raise bad_input(sentence(error, "the body"), fields=sentences(error))


spec = SpecTree(
    backend=Plugin,
    mode="strict",
    annotations=False,
    title="Longhaul",
    version="0.1.0",
    description="Long-running jobs on receipts. Every response has `success`; a failure also has `error` and `code`.",
    before=_refuse_invalid,
    validation_error_status=400,
    validation_error_model=Failure,
    naming_strategy=lambda model: model.__name__,
    nested_naming_strategy=lambda _parent, child: child,
    security_schemes=[
        SecurityScheme(name="token", data=SecuritySchemeData(type=SecureType.HTTP, scheme="bearer")),
        SecurityScheme(
            name="session", data=SecuritySchemeData(type=SecureType.API_KEY, name=COOKIE, field_in=InType.COOKIE)
        ),
    ],
    security=[{"token": []}, {"session": []}],
)


def responses(success: type[BaseModel] | dict[int, type[BaseModel]], *failures: int) -> Response:
    """The responses of a call: on success, and its own failures beside those of every call."""
    good = success if isinstance(success, dict) else {200: success}
    codes = {*failures, 400, 401, 403, 413, 415, 429, 503}
    return Response(
        **{f"HTTP_{code}": model for code, model in good.items()},
        **{f"HTTP_{code}": Failure for code in codes},
    )


def open_responses(success: type[BaseModel], *failures: int) -> Response:
    """The responses of a call that is open to all."""
    return Response(HTTP_200=success, HTTP_400=Failure, **{f"HTTP_{code}": Failure for code in failures})


class Document:
    open = True

    @cached_property
    def _document(self) -> bytes:
        return json.dumps(spec.spec, ensure_ascii=False).encode()

    def on_get(self, _request: falcon.Request, response: falcon.Response) -> None:
        response.content_type = falcon.MEDIA_JSON
        response.data = self._document


class Docs:
    """The same for people: one page, no scripts, nothing loaded from other sites."""

    open = True

    @cached_property
    def _page(self) -> str:
        return render(spec.spec)

    def on_get(self, _request: falcon.Request, response: falcon.Response) -> None:
        response.content_type = falcon.MEDIA_HTML
        policy = (
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        )
        response.set_header("Content-Security-Policy", policy)
        response.text = self._page


STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h2 { font-size: 1rem; margin: 2rem 0 .3rem; border-top: 1px solid #ddd; padding-top: 1rem }
code { background: #f2f2f2; padding: .1rem .3rem; border-radius: .2rem } th, td { text-align: left;
padding-right: 1rem }
"""


def render(spec: dict[str, Any]) -> str:
    calls = [
        _call(spec, method, path, call) for path, methods in spec["paths"].items() for method, call in methods.items()
    ]
    info = spec["info"]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])}: API</title>"
        f"<style>{STYLE}</style><h1>{escape(info['title'])}</h1><p>{escape(info['description'])}</p>"
        "<p>Send <code>Authorization: Bearer &lt;token&gt;</code>. For programs: <code>/api/openapi.json</code></p>"
        f"{''.join(calls)}</html>"
    )


def _call(spec: dict[str, Any], method: str, path: str, call: dict[str, Any]) -> str:
    rows = [
        f"<tr><td><code>{escape(p['name'])}</code><td>in {p['in']}<td>{escape(p.get('description') or '')}"
        for p in call["parameters"]
    ]
    for media in call.get("requestBody", {}).get("content", {}).values():
        schema = spec["components"]["schemas"][media["schema"]["$ref"].rpartition("/")[2]]
        rows += [
            f"<tr><td><code>{escape(name)}</code><td>in body<td>{escape(field.get('description', ''))}"
            for name, field in schema["properties"].items()
        ]
    codes = ", ".join(sorted(call["responses"]))
    return (
        f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(call['summary'])}</p>"
        f"<table>{''.join(rows)}</table><p>Answers {codes}</p>"
    )
