"""Where to go from a job: what a caller may do with it in its current state."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from actors.runtime.base.config import Settings
from actors.runtime.jobs.kinds import Kind
from service.caller import WRITERS, Caller
from sql.states import COMPLETED, verb_changes

# The addresses of kinds that have their own; all others start at START_ADDRESS.
ADDRESSES = {"delete_receipts": "/api/receipts/delete_all", "sync_receipts": "/api/receipts/sync"}
START_ADDRESS = "/api/jobs"


def links(
    row: Mapping[str, Any], caller: Caller, settings: Settings, kind: Kind | None, undo: Kind | None
) -> dict[str, str]:
    """Names → addresses. `kind`: the job's, None if unknown; `undo`: the kind that undoes it, None if there is none."""
    here = f"/api/jobs/{row['id']}"
    found = {"self": here, "events": f"{here}/events"}
    if caller.role in (*WRITERS, "operator"):
        for verb in ("pause", "cancel", "resume", *(("reset",) if caller.role == "operator" else ())):
            if verb_changes(verb, row["status"], row["requested"], waits=row["wait_until"] is not None):
                found[verb] = f"{here}/{verb}"
    if undo is not None and caller.role in undo.roles and _can_be_undone(row, settings):
        found["restore"] = START_ADDRESS
    if kind is None or row["status"] != COMPLETED or not (caller.role in kind.roles or caller.role == "operator"):
        return found
    if row["failed_count"]:
        found["retry"] = ADDRESSES.get(kind.name, START_ADDRESS)
    if kind.result is not None:
        found["result"] = f"{here}/result"
    return found


def _can_be_undone(row: Mapping[str, Any], settings: Settings) -> bool:
    """Roughly: the start of the undoing job knows for each item."""
    ended = row["finished_at"]
    return bool(row["succeeded"] and ended and datetime.now(UTC) - ended < timedelta(days=settings.UNDO_DAYS))
