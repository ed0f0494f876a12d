"""Starting a job, for every address and for the shell: refusals, and the response to a start."""

from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from actors.runtime.base.errors import LonghaulError
from actors.runtime.jobs.kinds import Kind, MissingError, RefusedError
from actors.runtime.jobs.params import Params
from actors.runtime.jobs.start import (
    JobActiveError,
    ParamsError,
    Started,
    TooSoonError,
    is_second,
    start,
)
from service.caller import Caller, name_token
from service.errors import ApiError, bad_input
from service.idempotency import Idempotency
from service.job_model import Notices
from service.job_view import Jobs
from service.json_handler import as_json
from service.rate_limits import spend_change

TRIES = 4  # of a start that conflicts with others
POLL_SECONDS = "2"  # until polling the job is worthwhile

LISTENING = text("""
    SELECT count(*) FROM workers w JOIN public.live_workers() AS live (id) ON live.id = w.id
    WHERE :queue = ANY (w.queues) AND (w.kinds IS NULL OR :kind = ANY (w.kinds))
""")


class _NotReconciledError(LonghaulError):
    """Another job is in the way. If its worker is dead, it may only look active: that is found out before refusing."""


class Starts:
    """One implementation for every address, and for the shell."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def start(
        self, caller: Caller, kind: Kind, params: Params, idempotency: Idempotency | None = None
    ) -> tuple[dict[str, Any], bool]:
        """The response, and whether it was given before. ApiError if the start is refused."""
        notices: Notices | None = None
        for _ in range(TRIES):
            try:
                with self._jobs.engine.begin() as connection:
                    return self._try(connection, caller, kind, params, idempotency, notices)
            except _NotReconciledError:
                _, notices = self._jobs.reconcile(caller.own_business(), alone=True)
            except IntegrityError as error:
                # Another job was resumed, or started in psql, and is active now. The next try refuses this one as the
                # second, unless that other job has ended since.
                if not is_second(error):
                    raise
        raise ApiError(
            503,
            "unavailable",
            "Other jobs of this business keep starting and ending; try again",
            headers={"Retry-After": "5"},
        )

    def _try(
        self,
        connection: Connection,
        caller: Caller,
        kind: Kind,
        params: Params,
        idempotency: Idempotency | None,
        notices: Notices | None,
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

    def _start(
        self, connection: Connection, caller: Caller, kind: Kind, params: Params, notices: Notices | None
    ) -> Started:
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
        except (JobActiveError, RefusedError) as error:
            if notices is None:
                raise _NotReconciledError from None
            if isinstance(error, RefusedError):
                raise ApiError(409, error.code, str(error)) from None
            job = self._jobs.shown(connection, caller, error.job_id, notices)
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
            raise bad_input(str(error), fields=error.fields) from None
        except MissingError as error:
            raise ApiError(404, "not_found", str(error)) from None
