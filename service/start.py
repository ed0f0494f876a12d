"""Starting a job of any kind: POST /api/jobs, and the addresses that some kinds have for themselves."""

from collections.abc import Callable
from typing import Any

import falcon
from pydantic import BaseModel, Field, create_model
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from actors.runtime.jobs.kinds import Kind, MissingError, RefusedError
from actors.runtime.jobs.params import Params, read_only
from actors.runtime.jobs.start import (
    JobActiveError,
    ParamsError,
    Started,
    TooSoonError,
    is_second,
    read_params,
    start,
)
from service.auth import Caller, name_token
from service.errors import ApiError, bad_input
from service.idempotency import Idempotency
from service.job_view import KINDS, Job, Jobs, Notices
from service.json_handler import as_json
from service.openapi import Input, NoQuery, Success, responses, spec
from service.rates import spend_change

TRIES = 3  # of a start that others get in the way of
POLL_SECONDS = "2"  # until a look at the job is worth it

LISTENING = text("""
    SELECT count(*) FROM workers w JOIN public.live_workers() AS live (id) ON live.id = w.id
    WHERE :queue = ANY (w.queues) AND (w.kinds IS NULL OR :kind = ANY (w.kinds))
""")

STARTABLE = sorted({kind.name for kind in KINDS.values()})


class JobStart(Input):
    job_type: str = Field(json_schema_extra={"enum": list[Any](STARTABLE)})
    params: dict[str, Any] = Field(
        default_factory=dict,
        description="as the kind declares them",
        json_schema_extra={"x-params": {name: KINDS[name].params.model_json_schema() for name in STARTABLE}},
    )
    confirm: str | None = Field(default=None, description="the word that some kinds want repeated")


class JobStarted(Success, Job):
    workers_listening: int = Field(description="how many live workers will take it")


class Starts:
    """One implementation for every address, and for the shell."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def start(
        self, caller: Caller, kind: Kind, params: Params, idempotency: Idempotency | None = None
    ) -> tuple[dict[str, Any], bool]:
        """The answer, and whether it was given before. ApiError where it is refused."""
        _, notices = self._jobs.reconcile(caller.own_business(), alone=True)
        for _ in range(TRIES):
            try:
                with self._jobs.engine.begin() as connection:
                    return self._try(connection, caller, kind, params, idempotency, notices)
            except IntegrityError as error:
                # A job that was resumed, or started past us in psql, took the one place meanwhile. In the next try this
                # one is refused as the second; unless that other job has ended since.
                if not is_second(error):
                    raise
        raise ApiError(
            503,
            "unavailable",
            "Other jobs of this business start and end all the time; try again",
            headers={"Retry-After": "5"},
        )

    def _try(
        self,
        connection: Connection,
        caller: Caller,
        kind: Kind,
        params: Params,
        idempotency: Idempotency | None,
        notices: Notices,
    ) -> tuple[dict[str, Any], bool]:
        if idempotency is not None and (before := idempotency.take(connection)) is not None:
            return before, True
        if caller.token_id:
            name_token(connection, caller)
        started = self._start(connection, caller, kind, params, notices)
        if caller.token_id:
            spend_change(connection, caller, self._jobs.settings)
        row = self._jobs.find(connection, caller, started.job_id)
        listening = connection.execute(LISTENING, {"queue": kind.queue, "kind": kind.name}).scalar_one()
        answer = as_json({**self._jobs.view(connection, caller, row), "workers_listening": listening})
        if idempotency is not None:
            idempotency.store(connection, answer)
        return answer, False

    def _start(self, connection: Connection, caller: Caller, kind: Kind, params: Params, notices: Notices) -> Started:
        business_id = caller.own_business()
        try:
            return start(
                connection,
                kind,
                self._jobs.settings,
                business_id,
                params,
                who=caller.name,
                user_id=caller.user_id,
            )
        except JobActiveError as error:
            job = self._jobs.view(connection, caller, self._jobs.find(connection, caller, error.job_id), notices)
            raise ApiError(
                409,
                "job_active",
                f"{error}; it is {job['status']}",
                headers={"Location": job["links"]["self"], "Retry-After": POLL_SECONDS},
                job_id=error.job_id,
                progress=job,
            ) from None
        except TooSoonError as error:
            raise ApiError(
                429,
                "rate_limited",
                str(error),
                headers={"Retry-After": str(error.seconds)},
                retry_after=error.seconds,
            ) from None
        except ParamsError as error:
            raise bad_input(str(error)) from None
        except MissingError as error:
            raise ApiError(404, "not_found", str(error)) from None
        except RefusedError as error:
            raise ApiError(409, error.code, str(error)) from None


def _answer(
    starts: Starts,
    request: falcon.Request,
    response: falcon.Response,
    kind: Kind,
    given: dict[str, Any],
    confirm: str | None,
) -> None:
    """Checks in the order of every call: 400, 403, and then what only the database knows."""
    try:
        params = read_params(kind, given)
    except ParamsError as error:
        raise bad_input(str(error)) from None
    if kind.confirm is not None and confirm != kind.confirm:
        found = "no confirm" if confirm is None else f"confirm = {confirm[:80]!r}"
        raise bad_input(f"Found {found}, expected {kind.confirm!r}")
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
    """A resource of its own for this kind: the body is its params, and `confirm` where it wants that."""
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
