"""The params of a kind: a pydantic model that gives the start's body, its documentation and its form."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails


class Params(BaseModel):
    """Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
