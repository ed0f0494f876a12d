"""Messages as stored in the table. Ours are checked when sent; other senders' once, when claimed."""

import json
import re
import time
from collections.abc import Container
from typing import Any

from dramatiq import Message

from actors.runtime.base.errors import MessageError

# The message options that Dramatiq's middleware reads. All others are the sender's.
NUMBERS = (
    "retries",
    "max_retries",
    "min_backoff",
    "max_backoff",
    "time_limit",
    "max_age",
    "delay",
    "requeue_timestamp",
)
NAMES = ("on_success", "on_failure", "on_retry_exhausted", "traceback")
IMPOSSIBLE = {
    "throws": "set it on the actor: exceptions cannot be written as JSON",
    "eta": "expected a time in ms",  # a message with a valid one is not claimed before it is due
    "group_completion_uuid": "group callbacks need a store that this broker does not have",
    "group_completion_callbacks": "group callbacks need a store that this broker does not have",
}

DEEPEST = 100  # nested lists and objects: later code must be able to print and copy them

GOOD_ESCAPE = re.compile(
    r"\\(?:[^u]|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u(?!0000|[dD][89a-fA-F])[0-9a-fA-F]{4})"
)


def encode(message: Any) -> str:
    """The message as JSON that Postgres can store. MessageError if that is impossible."""
    said = message.options.get("traceback")
    if isinstance(said, str) and said != (clean := said.replace("\x00", "").encode("utf-8", "replace").decode()):
        message = message.copy(options={"traceback": clean})  # not the sender's text, and not worth losing a message
    try:
        text: str = message.encode().decode()
    except Exception as error:  # whatever its arguments raise
        raise MessageError(f"{_title(message)}: {type(error).__name__}: {error}") from error
    if _may_be_deep(text) and _depth([message.args, message.kwargs, message.options]) > DEEPEST + 1:
        raise MessageError(f"{_title(message)}: found arguments nested more than {DEEPEST} deep")
    if ("\\u0000" in text or "\\ud" in text) and "\\u" in GOOD_ESCAPE.sub("", text):
        raise MessageError(f"{_title(message)}: found a NUL character or an unpaired surrogate, expected text")
    return text


def decode(text: str | None, queue_name: str, message_id: str, actors: Container[str]) -> "Message[Any]":
    """The message in this row. MessageError says what is wrong with it."""
    try:
        data = json.loads(text or "null")
    except (ValueError, RecursionError) as error:
        raise MessageError(f"{type(error).__name__}: {error}") from None
    if not isinstance(data, dict):
        raise MessageError(f"found {_shown(data)}, expected a message as an object")
    if _may_be_deep(text) and _depth(data) > DEEPEST + 2:
        raise MessageError(f"found a message nested more than {DEEPEST} deep")
    name: Any = data.get("actor_name")
    options: Any = data.get("options", {})
    for field, value, expected in (
        ("actor_name", name, str),
        ("args", data.get("args", []), list),
        ("kwargs", data.get("kwargs", {}), dict),
        ("options", options, dict),
    ):
        if not isinstance(value, expected):
            raise MessageError(f"{field}: found {_shown(value)}, expected {_shown(expected())}")
    if name not in actors:
        raise MessageError(f"no actor of this worker is named {name[:100]!r}")
    sent_at = data.get("message_timestamp", int(time.time() * 1000))
    if not _is_number(sent_at):
        raise MessageError(f"message_timestamp: found {_shown(sent_at)}, expected a time in ms")
    _check_options(options)
    return Message(queue_name, name, tuple(data.get("args", [])), data.get("kwargs", {}), options, message_id, sent_at)


def _check_options(options: dict[str, Any]) -> None:
    for name, value in options.items():
        if name in IMPOSSIBLE and not (value is None and name != "eta"):
            raise MessageError(f"option {name}: found {_shown(value)}; {IMPOSSIBLE[name]}")
        if name in NUMBERS and not (value is None or _is_number(value)):
            raise MessageError(f"option {name}: found {_shown(value)}, expected a number from 0 on")
        if name in NAMES and not (value is None or isinstance(value, str)):
            raise MessageError(f"option {name}: found {_shown(value)}, expected a text")
    if options.get("retries", 0) is None:
        raise MessageError("option retries: found null, expected a number from 0 on")
    _check_target(options.get("pipe_target"))


def _check_target(target: Any) -> None:
    """The next message of a pipeline; later ones are in its options."""
    while target is not None:
        fields = Message.__dataclass_fields__
        if not isinstance(target, dict) or not target.keys() <= fields.keys():
            raise MessageError(f"option pipe_target: found {_shown(target)}, expected a message")
        if missing := {"queue_name", "actor_name", "args", "kwargs", "options"} - target.keys():
            raise MessageError(f"option pipe_target: found no {min(missing)}, expected a message")
        if not isinstance(target["args"], list) or not isinstance(target["options"], dict):
            raise MessageError(f"option pipe_target: found {_shown(target)}, expected a message")
        target = target["options"].get("pipe_target")


def _may_be_deep(text: str | None) -> bool:
    return text is not None and text.count("[") + text.count("{") > DEEPEST


def _depth(value: Any) -> int:
    """Stops counting just above DEEPEST."""
    level, depth = [value], 0
    while level and depth < DEEPEST + 10:
        depth += 1
        level = [
            inner
            for one in level
            if isinstance(one, dict | list | tuple)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return depth


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53


def _shown(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", type(None): "null"}
    try:
        return kinds.get(type(value)) or json.dumps(value)[:50]
    except TypeError:
        return type(value).__name__


def _title(message: Any) -> str:
    return f"message {message.message_id} for {message.actor_name}"
