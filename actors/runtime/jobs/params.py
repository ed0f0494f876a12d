"""The params of a kind: a pydantic model that gives the start's body, its documentation and its form."""

import re
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
DIGITS = re.compile(r"-?\d{1,19}", re.ASCII)
NUMBER = re.compile(r"-?\d{1,40}(\.\d{1,40})?(E[+-]?\d{1,3})?", re.ASCII)  # as a Decimal is stored


class Given(BaseModel):
    """What somebody gives. Unknown fields are refused, and so is what only Python takes for a number or a day: 1_0, +5
    and true, and seconds since 1970.
    """

    model_config = ConfigDict(extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: Any, info: ValidationInfo) -> Any:
        name = info.field_name or ""
        return _checked(value, name, set(_types(cls.model_fields[name].annotation)))


class Params(Given):
    """Those of a kind."""

    model_config = ConfigDict(frozen=True)


def _types(annotation: Any) -> Iterator[type]:
    """Those that an annotation allows: of `int | None`, both."""
    if isinstance(annotation, type):
        yield annotation
    for one in get_args(annotation):
        yield from _types(one)


def _checked(value: Any, name: str, types: set[type]) -> Any:
    for one in value if isinstance(value, list) else ():
        if not isinstance(one, list):  # what is nested deeper is for the model to refuse
            _checked(one, name, types)
    if isinstance(value, bool):
        is_of_these = bool in types
    elif isinstance(value, int | float):
        is_of_these = bool(types & {int, float, Decimal})
    else:
        is_of_these = value is None or str in types
    if is_of_these:
        return value
    written = isinstance(value, str | int | float)
    if date in types and datetime not in types and written and not _is_day(value):
        raise ValueError(f"Invalid {name} format: {str(value)[:40]!r}. Use YYYY-MM-DD format")
    if datetime in types and written and not DAY.match(str(value)):
        raise ValueError(f"Found {name} = {str(value)[:40]!r}, expected a moment such as 2025-12-31T12:00:00Z")
    if types & {int, float, Decimal} and isinstance(value, bool | str):
        pattern, expected = (NUMBER, "a number") if types & {float, Decimal} else (DIGITS, "only digits")
        if isinstance(value, bool) or not pattern.fullmatch(value):
            raise ValueError(f"Found {name} = {str(value)[:40]!r}, expected {expected}")
    return value


def _is_day(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(DAY.fullmatch(value) and date.fromisoformat(value))
    except ValueError:
        return False


def set_at_start(default: Any = None) -> Any:
    """A field that the kind's `prepare` fills in; callers can't."""
    return Field(default=default, json_schema_extra={"readOnly": True})


def read_only(model: type[Params]) -> set[str]:
    """The fields that `set_at_start()` declared."""
    return {
        name
        for name, field in model.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("readOnly")
    }


def sentence(error: ValidationError, whole: str = "params") -> str:
    """The first error: what is wrong, and where; `whole` names what is wrong with all of it."""
    return _sentence(_errors(error)[0], whole)


def sentences(error: ValidationError) -> dict[str, str]:
    """What is wrong with each field: its first error."""
    found: dict[str, str] = {}
    for one in _errors(error):
        if one["loc"]:
            found.setdefault(str(one["loc"][0]), _sentence(one))
    return found


def _errors(error: ValidationError) -> list[ErrorDetails]:
    """Without the tracebacks of what validators raised. Pydantic keeps those where Python's garbage collector can't see
    them; they lead back to the caller, and so all that it had in hand, a request's body say, would never be freed.
    """
    errors = error.errors()
    raised, seen = [one.get("ctx", {}).get("error") for one in errors], set()
    while raised:
        one_raised = raised.pop()
        if isinstance(one_raised, BaseException) and one_raised not in seen:
            one_raised.__traceback__ = None
            seen.add(one_raised)
            raised += [one_raised.__context__, one_raised.__cause__]
    return errors


def _sentence(error: ErrorDetails, whole: str = "") -> str:
    where = ".".join(str(part) for part in error["loc"]) or whole
    if "ctx" in error and isinstance(error["ctx"].get("error"), ValueError):
        return str(error["ctx"]["error"])
    if error["type"] == "extra_forbidden":
        return f"Unknown field {where!r}"
    if error["type"] == "missing":
        return f"{where!r} is missing"
    return f"Found {where} = {str(error['input'])[:80]!r}: {error['msg']}"
