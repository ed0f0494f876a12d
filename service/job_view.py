"""A job as the API shows it: reconciled first, or its last known state with a notice why."""

import builtins
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from pydantic import BaseModel
from sqlalchemy import Connection, Engine, text

from actors.runtime.base.config import Settings
from actors.runtime.base.failures import describe, is_lost, sqlstate
from actors.runtime.jobs.percent import percent
from actors.runtime.jobs.reconcile import Swept, reconcile
from service.caller import Caller
from service.days import within_days
from service.errors import not_found, outdated
from service.job_links import links
from service.job_model import Job, Notices, notice_of
from service.job_rows import KINDS, MOST_AHEAD_IN_A_LIST, Asked, PolledJobs, job_rows, kind_stats
from service.why import stuck
from sql.engine import reading
from sql.states import COMPLETED, RUNNING

log = structlog.get_logger("longhaul.http")

UNDO = {kind.undoes: kind for kind in KINDS.values() if kind.undoes}  # by the name of the kind that it undoes

# Newest first; all jobs, or those that match the filters.
LIST = text(f"""
    SELECT j.id FROM background_jobs j
    WHERE (CAST(:business_id AS bigint) IS NULL OR j.business_id = :business_id)
      AND (CAST(:status AS text) IS NULL OR j.status = :status)
      AND (CAST(:job_type AS text) IS NULL OR j.job_type = :job_type)
      AND (CAST(:after AS bigint) IS NULL OR j.id < :after) AND {within_days("j.created_at")}
      AND (CAST(:ids AS bigint[]) IS NULL OR j.id = ANY (CAST(:ids AS bigint[])))
    ORDER BY j.id DESC LIMIT :limit + 1
""")  # noqa: S608 - constants
# Is there anything to reconcile? Mostly not, when a job is started.
RUNS = text("""
    SELECT EXISTS (SELECT FROM background_jobs WHERE status = 'running'
        AND (CAST(:business_id AS bigint) IS NULL OR business_id = :business_id))
""")
# Waits for another start of the business that is in progress.
LOCK_BUSINESS = text("SELECT id FROM businesses WHERE id = :business_id FOR NO KEY UPDATE")


class Jobs:
    """Jobs as the API shows them. Reading a running job first reconciles it."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self._polled = PolledJobs(engine, settings)

    def show(self, caller: Caller, job_id: int, known: str | None = None) -> tuple[dict[str, Any] | None, str | None]:
        """The job, reconciled, or its last known state with a notice why; and its version, if it is moving.

        No job if it still has the version `known`. 404 for another business's.
        """
        found = self._polled.get(Asked(job_id, caller.business_id, known))
        if found is None:
            raise not_found(f"Job {job_id}")
        row, stats = found
        if row["is_unchanged"]:
            return None, known
        if not _needs_reconciling(row):
            return self._view(row, caller, stats, {}), row["version"]
        _, notices = self.reconcile(row["business_id"])
        with reading(self.engine) as connection:
            return self.shown(connection, caller, job_id, notices), None

    def look(self, caller: Caller, job_id: int) -> tuple[dict[str, Any], Notices]:
        """The job's row, reconciled, and why it may be outdated."""
        with reading(self.engine) as connection:
            row = self.find(connection, caller, job_id)
        if not _needs_reconciling(row):
            return row, {}
        _, notices = self.reconcile(row["business_id"])
        with reading(self.engine) as connection:
            return self.find(connection, caller, job_id), notices

    def find(self, connection: Connection, caller: Caller, job_id: int) -> dict[str, Any]:
        """The job's row as stored; 404 for another business's."""
        asked = Asked(job_id, caller.business_id)
        row = job_rows(connection, self.settings, [asked]).get(asked)
        if row is None:
            raise not_found(f"Job {job_id}")
        return row

    def shown(self, connection: Connection, caller: Caller, job_id: int, notices: Notices) -> dict[str, Any]:
        """The job as the API shows it, in the caller's transaction; 404 for another business's."""
        return self.view(connection, caller, self.find(connection, caller, job_id), notices)

    def list(
        self, connection: Connection, caller: Caller, query: BaseModel, notices: Notices
    ) -> builtins.list[dict[str, Any]]:
        wanted = query.model_dump()
        if caller.business_id is not None:
            wanted["business_id"] = caller.business_id
        wanted["ids"] = stuck(connection, wanted["business_id"]) if wanted.pop("stuck") else None
        ids = connection.execute(LIST, wanted).scalars().all()
        asked = [Asked(job_id, None) for job_id in ids]
        rows = job_rows(connection, self.settings, asked, MOST_AHEAD_IN_A_LIST)
        return self._views(connection, caller, list(rows.values()), notices)

    def reconcile(self, business_id: int | None, *, alone: bool = False) -> tuple[Swept, Notices]:
        """Reconciles running jobs (of one business, or all), in separate transactions from the caller's.

        If that fails in a database that can still be read, a notice says why the stored state may be outdated.
        `alone`: first waits for any other start of the business, which may be reconciling too.
        """
        try:
            with reading(self.engine) as connection:
                if not connection.execute(RUNS, {"business_id": business_id}).scalar_one():
                    return Swept(), {}
            with self.engine.connect() as connection:
                if alone:
                    with connection.begin():
                        connection.execute(LOCK_BUSINESS, {"business_id": business_id})
                        swept = reconcile(connection, self.settings, business_id)
                else:
                    swept = reconcile(connection, self.settings, business_id)
        except Exception as error:
            if is_lost(error):
                raise
            log.warning("jobs.not_reconciled", business_id=business_id, error=describe(error))
            return Swept(), {None: outdated(sqlstate(error))}
        return swept, {job_id: outdated(state) for job_id, state in swept.left.items()}

    def view(
        self, connection: Connection, caller: Caller, row: Mapping[str, Any], notices: Notices | None = None
    ) -> dict[str, Any]:
        (shown,) = self._views(connection, caller, [row], notices)
        return shown

    def _views(
        self,
        connection: Connection,
        caller: Caller,
        rows: Sequence[Mapping[str, Any]],
        notices: Notices | None,
    ) -> builtins.list[dict[str, Any]]:
        stats = kind_stats(connection, rows)
        return [self._view(row, caller, stats.get(row["id"], {}), notices or {}) for row in rows]

    def _view(self, row: Mapping[str, Any], caller: Caller, stats: dict[str, Any], notices: Notices) -> dict[str, Any]:
        done = row["status"] == COMPLETED
        kind = KINDS.get(row["job_type"])
        undo = UNDO.get(kind.name) if kind is not None else None
        return {name: row[name] for name in Job.model_fields if name in row} | {
            "job_id": row["id"],
            "with_failures": done and row["failed_count"] > 0,
            "links": links(row, caller, self.settings, kind, undo),
            "percent": 100.0 if done else percent(row["processed"], row["total"]),
            "stats": row["stats"] | stats,
            "why": {"reason": row["reason"], "sentence": row["sentence"]},
            "notice": notice_of(row, notices),
        }


def _needs_reconciling(row: Mapping[str, Any]) -> bool:
    """No, if its worker is known to be alive, the clock is being watched, and the job is not stale."""
    return bool(row["status"] == RUNNING and (row["is_in_doubt"] or row["is_stale"]))
