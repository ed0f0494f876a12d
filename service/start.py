"""Starting a job of any kind: POST /api/jobs, and the kinds with their own addresses."""

from collections.abc import Callable
from typing import Any

import falcon
from pydantic import BaseModel, Field, create_model

from actors.runtime.jobs.kinds import Kind
from actors.runtime.jobs.params import read_only
from actors.runtime.jobs.start import (
    ParamsError,
    read_params,
)
from service.caller import Caller
from service.errors import bad_input
from service.idempotency import Idempotency
from service.job_model import Job
from service.job_rows import KINDS
from service.job_starts import POLL_SECONDS, Starts
from service.job_view import Jobs
from service.openapi import Input, NoQuery, Success, responses, spec

STARTABLE = sorted({kind.name for kind in KINDS.values()})


class JobStart(Input):
    job_type: str = Field(json_schema_extra={"enum": list[Any](STARTABLE)})
    params: dict[str, Any] = Field(
        default_factory=dict,
        description="as declared by the kind",
        json_schema_extra={"x-params": {name: KINDS[name].params.model_json_schema() for name in STARTABLE}},
    )
    confirm: str | None = Field(default=None, description="the confirmation word that some kinds require")


class JobStarted(Success, Job):
    workers_listening: int = Field(description="how many live workers will take it")


def _answer(
    starts: Starts,
    request: falcon.Request,
    response: falcon.Response,
    kind: Kind,
    given: dict[str, Any],
    confirm: str | None,
) -> None:
    """Checks in the same order as every call: 400, 403, then what needs the database."""
    try:
        params = read_params(kind, given)
    except ParamsError as error:
        raise bad_input(str(error), fields=error.fields) from None
    if kind.confirm is not None and confirm != kind.confirm:
        found = "no confirm" if confirm is None else f"confirm = {confirm[:80]!r}"
        sentence = f"Found {found}, expected {kind.confirm!r}"
        raise bad_input(sentence, fields={"confirm": sentence})
    caller: Caller = request.context.caller
    caller.require(kind.roles)
    caller.own_business()
    fields = {"job_type": kind.name, "params": params.model_dump(mode="json"), "confirm": confirm}
    answer, replayed = starts.start(caller, kind, params, Idempotency.of(request, caller, fields))
    response.status = 202
    response.set_header("Location", answer["links"]["self"])
    response.set_header("Retry-After", POLL_SECONDS)
    if replayed:
        response.set_header("Idempotent-Replayed", "true")
    response.media = {"success": True, **answer}


class StartAny:
    """The POST of /api/jobs."""

    def __init__(self, jobs: Jobs) -> None:
        self._starts = Starts(jobs)

    @spec.validate(query=NoQuery, json=JobStart, resp=responses({202: JobStarted}, 404, 409, 422, 429))
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Starts a job of any kind"""
        body: JobStart = request.context.json
        kind = KINDS.get(body.job_type)
        if kind is None or kind.name != body.job_type:
            raise bad_input(f"Found the job_type {body.job_type[:80]!r}, expected one of {', '.join(STARTABLE)}")
        _answer(self._starts, request, response, kind, body.params, body.confirm)


def start_at(kind: Kind, starts: type[Starts] = Starts) -> Callable[[Jobs], Any]:
    """A separate resource for this kind: the body is its params, and `confirm` if it requires that."""
    body = _body(kind)

    class StartOne:
        def __init__(self, jobs: Jobs) -> None:
            self._starts = starts(jobs)

        @spec.validate(query=NoQuery, json=body, resp=responses({202: JobStarted}, 404, 409, 422, 429))
        def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
            given: BaseModel = request.context.json
            fields = given.model_dump(exclude_unset=True)
            confirm = fields.pop("confirm", None)
            _answer(self._starts, request, response, kind, fields, confirm)

    StartOne.on_post.__doc__ = f"Starts a job of the kind {kind.name}"
    return StartOne


def _body(kind: Kind) -> type[BaseModel]:
    hidden = read_only(kind.params)
    fields: dict[str, Any] = {
        name: (field.annotation, field) for name, field in kind.params.model_fields.items() if name not in hidden
    }
    if kind.confirm is not None:
        fields["confirm"] = (str, Field(json_schema_extra={"const": kind.confirm}))
    return create_model(f"Start_{kind.name}", __base__=Input, **fields)
