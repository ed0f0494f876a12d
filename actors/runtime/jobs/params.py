"""The params of a kind: a pydantic model that gives the start's body, its documentation and its form."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError


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


def sentence(error: ValidationError) -> str:
    """The first error: what is wrong, and where."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "params"
    if "ctx" in first and isinstance(first["ctx"].get("error"), ValueError):
        return str(first["ctx"]["error"])
    if first["type"] == "extra_forbidden":
        return f"Unknown field {where!r}"
    if first["type"] == "missing":
        return f"{where!r} is missing"
    return f"Found {where} = {str(first['input'])[:80]!r}: {first['msg']}"
