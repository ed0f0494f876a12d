"""Lists the kinds of jobs, so that a page can build a form for a kind that it does not know."""

from typing import Any

import falcon
from pydantic import BaseModel, Field

from actors.runtime.base.config import Settings
from actors.runtime.jobs.kinds import Kind
from actors.runtime.jobs.params import read_only
from service.caller import Caller
from service.job_rows import KINDS
from service.openapi import NoQuery, Success, responses, spec


class KindView(BaseModel):
    job_type: str
    done_label: str = Field(description="what was done to an item: deleted, exported")
    queue: str
    may_start: bool = Field(description="whether this caller may, with POST /api/jobs")
    confirm: str | None = Field(description="the confirmation word that a start requires")
    cooldown_seconds: int = Field(description="minimum time between two starts; 0: none")
    makes_file: bool = Field(description="whether a completed job has a link `result`")
    params_schema: dict[str, Any] = Field(description="JSON Schema of the params that a start may give")


class KindList(Success):
    kinds: list[KindView]


class Kinds:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @spec.validate(query=NoQuery, resp=responses(KindList))
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The kinds of jobs, and how to start each"""
        caller: Caller = request.context.caller
        kinds = sorted({kind.name: kind for kind in KINDS.values()}.items())
        response.media = {"success": True, "kinds": [self._view(kind, caller) for _, kind in kinds]}

    def _view(self, kind: Kind, caller: Caller) -> dict[str, Any]:
        return {
            "job_type": kind.name,
            "done_label": kind.done_label,
            "queue": kind.queue,
            "may_start": caller.business_id is not None and caller.role in kind.roles,
            "confirm": kind.confirm,
            "cooldown_seconds": kind.setting(self._settings, "COOLDOWN_SECONDS"),
            "makes_file": kind.result is not None,
            "params_schema": params_schema(kind),
        }


def params_schema(kind: Kind) -> dict[str, Any]:
    """By the names used in a start, without the fields that are set at the start."""
    schema = kind.params.model_json_schema(by_alias=False)
    for name in read_only(kind.params):
        del schema["properties"][name]
    return schema
