"""What a sender may put into the queue that is no message, or none that can be processed: each ends as rejected."""

import json
from typing import Any


def message(**changes: Any) -> str:
    """One for the actor of a job, but for these fields. Its job is none, so that the sweep leaves it to the workers."""
    return json.dumps({
        "queue_name": "maintenance", "actor_name": "delete_receipts", "args": ["none"], "kwargs": {}, "options": {},
        "message_timestamp": 0, **changes,
    })  # fmt: skip


def options(**values: Any) -> str:
    return message(options=values)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


MALFORMED = {
    "null": "null",
    "no object": "[1, 2]",
    "an empty object": "{}",
    "actor_name is a number": message(actor_name=5),
    "actor_name is null": message(actor_name=None),
    "an unknown actor": message(actor_name="nobody"),
    "args is an object": message(args={}),
    "args are too few": message(args=[]),
    "args are too many": message(args=[1, 2, 3]),
    "an argument is no job's id": message(args=["none"]),
    "an argument that is too large": message(args=[1e300]),
    "kwargs is a list": message(kwargs=[]),
    "a kwarg that nobody takes": message(kwargs={"nobody": 1}),
    "options is a list": message(options=[]),
    "options is null": message(options=None),
    "message_timestamp is a text": message(message_timestamp="yesterday"),
    "eta is null": options(eta=None),
    "eta is NaN": options(eta="NaN"),
    "eta is infinite": options(eta="Infinity"),
    "eta is 1e300": options(eta=1e300),
    "throws": options(throws=["ValueError"]),
    "retries is a text": options(retries="x"),
    "retries is null": options(retries=None),
    "retries is negative": options(retries=-1),
    "max_age is true": options(max_age=True),
    "time_limit is an object": options(time_limit={}),
    "on_failure is a list": options(on_failure=[]),
    "pipe_target is a text": options(pipe_target="next"),
    "pipe_target lacks fields": options(pipe_target={"actor_name": "delete_receipts"}),
    "callbacks of a group": options(group_completion_uuid="1", group_completion_callbacks=[]),
    "nested 600 deep": message(args=[nested(600)]),
    "nested 3000 deep": '{"args": ' + "[" * 3000 + "]" * 3000 + "}",
}
