"""Jobs as they are stored, with what of them is relative to now, and why each is where it is."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine

from actors.runtime.base.config import Settings
from actors.runtime.jobs.kinds import by_every_name, load_kinds
from service.gathered import Gathered
from sql.engine import fetch, reading

KINDS = by_every_name(load_kinds().values())  # by job_type
MOST_AHEAD, MOST_AHEAD_IN_A_LIST = 1000, 100  # as far as messages ahead of a job are counted

LOOK = """
    SELECT * FROM public.view_jobs(CAST(%(ids)s AS bigint[]), CAST(%(businesses)s AS bigint[]),
        CAST(%(versions)s AS text[]), CAST(%(heartbeat_seconds)s AS float8), CAST(%(update_seconds)s AS float8),
        CAST(%(most_ahead)s AS integer))
"""


class Asked(NamedTuple):
    job_id: int
    business_id: int | None  # of who asks; None: an operator
    version: str | None = None  # that is known: a moving job that still has it is not shown again


def job_rows(
    connection: Connection, settings: Settings, asked: Sequence[Asked], most_ahead: int = MOST_AHEAD
) -> dict[Asked, dict[str, Any]]:
    """Those that are there and may be seen, newest first. Of one that `is_unchanged` nothing else is known."""
    values = {
        "ids": [one.job_id for one in asked],
        "businesses": [one.business_id for one in asked],
        "versions": [one.version for one in asked],
        "heartbeat_seconds": settings.STALE_HEARTBEAT_SECONDS,
        "update_seconds": settings.STALE_UPDATE_SECONDS,
        "most_ahead": most_ahead,
    }
    return {asked[row["place"] - 1]: row for row in fetch(connection, LOOK, values)}


def kind_stats(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """By job, what its kind shows beside the counters; read once for all jobs of a kind."""
    by_kind: dict[str, list[int]] = {}
    for row in rows:
        by_kind.setdefault(row["job_type"], []).append(row["id"])
    stats: dict[int, dict[str, Any]] = {}
    for job_type, ids in by_kind.items():
        kind = KINDS.get(job_type)
        if kind is not None and kind.stats is not None:
            stats |= kind.stats(connection, ids)
    return stats


class PolledJobs(Gathered[Asked, tuple[dict[str, Any], dict[str, Any]]]):
    """A job's row and its stats, for the polls: those that come at once are read at once."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        def look(asked: Sequence[Asked]) -> Mapping[Asked, tuple[dict[str, Any], dict[str, Any]]]:
            with reading(engine) as connection:
                rows = job_rows(connection, settings, asked)
                stats = kind_stats(connection, [row for row in rows.values() if not row["is_unchanged"]])
            return {one: (row, stats.get(row["id"], {})) for one, row in rows.items()}

        super().__init__(look)
