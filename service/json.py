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


JSON_HANDLER = JSONHandler(dumps=partial(json.dumps, default=_encode, ensure_ascii=False))
