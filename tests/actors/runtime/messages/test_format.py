"""What we send is checked at the send, and what others sent once, at the claim."""

import datetime
import json
import time
from contextlib import nullcontext
from typing import Any

import dramatiq
import pytest

from actors.runtime.base.errors import MessageError
from actors.runtime.messages.format import decode, encode

GOOD: dict[str, Any] = {
    "queue_name": "low",
    "actor_name": "note",
    "args": [1],
    "kwargs": {},
    "options": {},
    "message_id": "6f0b2b2e-0000-4000-8000-000000000000",
    "message_timestamp": 1_700_000_000_000,
}

TEXTS = ["", "a", "\\u0000", "\\\\u0000", "שלום", "😀", "\U0010ffff", "\n\t\r\b", "\x7f\x1f", "\\ud800", '"\\"']


@pytest.mark.parametrize("text", TEXTS)
def test_text_of_any_kind_is_sent_as_it_is(text: str) -> None:
    sent = encode(dramatiq.Message("low", "note", (text,), {text: text}, {}))
    assert json.loads(sent)["args"] == [text]


@pytest.mark.parametrize(
    "args",
    [
        ("a\x00b",),
        ({"k\x00": 1},),
        ([["\x00"]],),
        ("\ud800",),
        ("\udfff😀",),
        ("\\\x00",),
        (datetime.datetime(2025, 1, 1),),
        (object(),),
        (b"bytes",),
    ],
)
def test_what_cannot_be_stored_is_refused_at_the_send(args: tuple[Any, ...]) -> None:
    with pytest.raises(MessageError, match="for note"):
        encode(dramatiq.Message("low", "note", args, {}, {}))


def test_arguments_that_are_nested_too_deeply_are_refused_at_the_send() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(MessageError, match="RecursionError"):
        encode(dramatiq.Message("low", "note", (deep,), {}, {}))


def test_a_traceback_is_stored_as_far_as_it_can_be() -> None:
    sent = encode(dramatiq.Message("low", "note", (), {}, {"traceback": "a\x00b\ud800"}))
    assert json.loads(sent)["options"]["traceback"] == "ab?"


def read(**changes: Any) -> "dramatiq.Message[Any]":
    return decode(json.dumps(GOOD | changes), "low", GOOD["message_id"], {"note"})


def test_a_message_is_read_as_it_was_sent_and_the_row_is_the_truth() -> None:
    message = read(queue_name="elsewhere", message_id="another")
    assert (message.queue_name, message.message_id) == ("low", GOOD["message_id"])
    assert (message.actor_name, message.args, message.kwargs, message.options) == ("note", (1,), {}, {})
    assert message.message_timestamp == GOOD["message_timestamp"]


@pytest.mark.parametrize("text", [None, "", "{", "null", "5", "[]", '"x"', "[" * 100_000])
def test_what_is_no_message_is_refused(text: str | None) -> None:
    with pytest.raises(MessageError):
        decode(text, "low", "id", {"note"})


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no actor": ({"actor_name": None}, "actor_name: found null, expected a text"),
    "an actor that is a number": ({"actor_name": 5}, "actor_name: found 5, expected a text"),
    "an actor that nobody knows": ({"actor_name": "other"}, "no actor of this worker is named 'other'"),
    "args that are a text": ({"args": "ab"}, "args: found a text, expected a list"),
    "args that are an object": ({"args": {}}, "args: found an object"),
    "kwargs that are a list": ({"kwargs": []}, "kwargs: found a list, expected an object"),
    "options that are null": ({"options": None}, "options: found null, expected an object"),
    "a timestamp that is a text": ({"message_timestamp": "now"}, "message_timestamp: found a text"),
    "a timestamp that is true": ({"message_timestamp": True}, "message_timestamp: found true"),
    "an eta of null": ({"options": {"eta": None}}, "option eta: found null; expected a time in ms"),
    "throws": ({"options": {"throws": "X"}}, "option throws"),
    "retries that are a text": ({"options": {"retries": "x"}}, "option retries: found a text"),
    "retries that are null": ({"options": {"retries": None}}, "option retries: found null"),
    "retries below 0": ({"options": {"retries": -1}}, "option retries: found -1"),
    "retries beyond all": ({"options": {"retries": 1e300}}, "option retries"),
    "a limit that is a list": ({"options": {"time_limit": []}}, "option time_limit: found a list"),
    "a limit that is no number": ({"options": {"time_limit": float("nan")}}, "option time_limit"),
    "an age that is a text": ({"options": {"max_age": "1"}}, "option max_age"),
    "a backoff that is true": ({"options": {"min_backoff": True}}, "option min_backoff"),
    "a callback that is a number": ({"options": {"on_success": 5}}, "option on_success: found 5, expected a text"),
    "a callback that is an object": ({"options": {"on_failure": {}}}, "option on_failure"),
    "a target that is a text": ({"options": {"pipe_target": "x"}}, "option pipe_target: found a text"),
    "a target without an actor": ({"options": {"pipe_target": {"args": []}}}, "option pipe_target: found no"),
    "a target whose args are a text": (
        {"options": {"pipe_target": GOOD | {"args": "ab"}}},
        "pipe_target: found an object",
    ),
    "a target whose options are a list": (
        {"options": {"pipe_target": GOOD | {"options": []}}},
        "pipe_target: found an",
    ),
    "a target of more": ({"options": {"pipe_target": GOOD | {"more": 1}}}, "option pipe_target"),
    "a target's target": (
        {"options": {"pipe_target": GOOD | {"options": {"pipe_target": 5}}}},
        "option pipe_target: found 5",
    ),
    "a group's callbacks": ({"options": {"group_completion_uuid": "x"}}, "group callbacks need a store"),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_would_stop_a_thread_is_refused_with_what_was_found(bad: str) -> None:
    changes, reason = BAD[bad]
    with pytest.raises(MessageError) as refused:
        read(**changes)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    "options",
    [
        {"max_retries": None, "time_limit": None, "max_age": None, "throws": None, "pipe_target": None},
        {"on_success": None, "on_failure": None, "on_retry_exhausted": None, "traceback": None},
        {"retries": 3, "traceback": "…", "requeue_timestamp": 1},
        {"pipe_target": GOOD, "pipe_ignore": True},
        {"anything": {"of": ["the", "sender"]}},
    ],
)
def test_what_dramatiq_itself_writes_is_taken(options: dict[str, Any]) -> None:
    assert read(options=options).options == options


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize("where", ["args", "kwargs"])
def test_what_is_nested_more_than_100_deep_is_refused_at_the_send_and_at_the_claim(where: str) -> None:
    """Python could read it, and the first line in the log that shows it would end the thread."""
    for depth, fine in ((90, True), (102, False), (300, False)):
        args, kwargs = ([nested(depth)], {}) if where == "args" else ([], {"x": nested(depth)})
        if fine:
            encode(dramatiq.Message("low", "note", tuple(args), kwargs, {}))
            read(args=args, kwargs=kwargs)
            continue
        with pytest.raises(MessageError, match="nested more than 100 deep"):
            encode(dramatiq.Message("low", "note", tuple(args), kwargs, {}))
        with pytest.raises(MessageError, match="nested more than 100 deep"):
            decode(json.dumps(GOOD | {"args": args, "kwargs": kwargs}), "low", "id", {"note"})


def test_the_deepest_message_that_can_be_sent_can_be_read() -> None:
    for depth, is_sent, is_read in ((99, True, True), (100, False, True), (101, False, False)):
        with nullcontext() if is_sent else pytest.raises(MessageError, match="nested more than 100 deep"):
            encode(dramatiq.Message("low", "note", (nested(depth),), {}, {}))
        with nullcontext() if is_read else pytest.raises(MessageError, match="nested more than 100 deep"):
            read(args=[nested(depth)])


NUMBERS = [
    "retries",
    "max_retries",
    "min_backoff",
    "max_backoff",
    "time_limit",
    "max_age",
    "delay",
    "requeue_timestamp",
]
NAMES = ["on_success", "on_failure", "on_retry_exhausted", "traceback"]
NEVER = ["throws", "eta", "group_completion_uuid", "group_completion_callbacks"]


@pytest.mark.parametrize("name", [*NUMBERS, *NAMES, *NEVER])
def test_each_option_that_dramatiq_reads_is_checked(name: str) -> None:
    for value in (-1, 0, 1.5, 2**53 - 1, 2**53, "text", {}):
        number = isinstance(value, int | float) and 0 <= value < 2**53
        fine = name not in NEVER and (number if name in NUMBERS else isinstance(value, str))
        with nullcontext() if fine else pytest.raises(MessageError, match=f"^option {name}: found "):
            assert read(options={name: value}).options == {name: value}


@pytest.mark.parametrize(("at", "fine"), [(0, True), (2**53 - 1, True), (-1, False), (2**53, False)])
def test_the_time_of_a_message_is_one_that_dramatiq_can_reckon_with(at: int, fine: bool) -> None:
    with nullcontext() if fine else pytest.raises(MessageError, match="message_timestamp: found"):
        assert read(message_timestamp=at).message_timestamp == at


def test_a_message_may_leave_out_what_dramatiq_can_do_without() -> None:
    began = time.time() * 1000
    message = decode('{"actor_name": "note"}', "low", "id", {"note"})
    assert (message.args, message.kwargs, message.options) == ((), {}, {})
    assert began - 1 <= message.message_timestamp <= time.time() * 1000


def test_what_is_said_of_a_message_is_short() -> None:
    for changes in ({"actor_name": "x" * 9999}, {"options": {"retries": 10**4000}}):
        with pytest.raises(MessageError) as refused:
            read(**changes)
        assert len(str(refused.value)) < 200


@pytest.mark.parametrize("field", ["queue_name", "actor_name", "args", "kwargs", "options"])
def test_a_next_step_that_lacks_a_field_is_refused(field: str) -> None:
    target = {name: value for name, value in GOOD.items() if name != field}
    with pytest.raises(MessageError, match=f"option pipe_target: found no {field}, expected a message"):
        read(options={"pipe_target": target})
