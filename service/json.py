"""JSON as the API speaks it: times in ISO 8601, strings that Postgres can store."""

import json
from datetime import datetime
from functools import partial
from typing import Any

from falcon.media import JSONHandler


def _encode(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not JSON")


def _decode(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


JSON_HANDLER = JSONHandler(loads=_decode, dumps=partial(json.dumps, default=_encode, ensure_ascii=False))
