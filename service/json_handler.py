"""The API's JSON: times in ISO 8601, strings that Postgres can store."""

import json
import re
from datetime import datetime
from functools import partial
from typing import Any

from falcon.media import JSONHandler

MAX_DEPTH = 20  # of objects and lists in each other: what walks them may need a level of Python's stack for each
MAX_FIELDS = 100  # of an object: each one that a model does not know is an error, and making those takes long


def _encode(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not JSON")


STRING = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
BRACKET = re.compile(r"[\[\]{}]")
HALF = re.compile(r"\\u[dD][89a-fA-F]")  # a surrogate, alone or one of a pair


def _decode(text: str) -> Any:
    try:
        if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
            raise RecursionError
        found = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if HALF.search(text):
        _refuse_halves(found)
    return found


def _refuse_halves(value: Any) -> None:
    """No text can have one half of a pair of surrogates alone, and no message about it could be written."""
    try:
        dumps(value).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"found {error.object[error.start]!r}, which is half a character") from None


def _depth(text: str) -> int:
    depth = deepest = 0
    for bracket in BRACKET.findall(STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_FIELDS:
        raise ValueError(f"found an object of {len(pairs)} fields, expected at most {MAX_FIELDS}")
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"found the key {key[:40]!r} twice")
        found[key] = value
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def as_json(value: Any) -> Any:
    """The same value as a reader of the response sees it."""
    return json.loads(json.dumps(value, default=_encode))


dumps = partial(json.dumps, default=_encode, ensure_ascii=False)
JSON_HANDLER = JSONHandler(loads=_decode, dumps=dumps)
