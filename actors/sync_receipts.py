"""Reads a business's mailbox and stores the receipts that it finds there, each once, with its file."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Literal

import structlog
from pydantic import AliasChoices, Field, model_validator
from sqlalchemy import text

from actors.mail.listing import end_list, note_page
from actors.mail.mailbox import Window
from actors.mail.reading import Reading, together, upload
from actors.mail.storing import Decision, store
from actors.mail.sync import Sync, classify
from actors.runtime.jobs.kinds import MissingError, RefusedError, Start, job_kind
from actors.runtime.jobs.params import Params
from actors.runtime.jobs.run import Batch, Run
from actors.runtime.jobs.verdicts import Permanent

log = structlog.get_logger("longhaul.sync")

PAGE = 200  # mails that are listed at a time
MOST_RENUMBERED = 10  # times in one job: each begins the list anew
PAGES_PER_CHECK = 50  # how many are known already is not counted for each page
PROGRESS_EACH = 50  # mails

CONNECTIONS = text("""
    SELECT id, status FROM connections
    WHERE business_id = :business_id AND status <> 'deleted'
      AND (CAST(:connection_id AS bigint) IS NULL OR id = :connection_id)
    ORDER BY id LIMIT 2
""")
NEXT = text("""
    SELECT id, uidvalidity, uid, size, received_at, fetch_failures FROM mail_messages
    WHERE connection_id = :connection_id AND business_id = :business_id AND state = 'pending' AND job_id = :job_id
      AND id > :last_id
    ORDER BY id LIMIT :limit
""")


def _either(name: str, camel: str) -> AliasChoices:
    return AliasChoices(name, camel)


class SyncReceipts(Params):
    connection_id: int | None = Field(
        default=None,
        ge=1,
        le=2**63 - 1,
        validation_alias=_either("connection_id", "connectionId"),
        description="may be left out where the business has one connection",
    )
    mode: Literal["incremental", "full", "range"] = Field(
        default="incremental", description="what is new; all, and what could not be read again; or some days"
    )
    from_date: date | None = Field(
        default=None, validation_alias=_either("from_date", "fromDate"), description="the first day, of range"
    )
    to_date: date | None = Field(
        default=None, validation_alias=_either("to_date", "toDate"), description="the last day, of range"
    )

    @model_validator(mode="after")
    def _agree(self) -> "SyncReceipts":
        if self.mode != "range" and (self.from_date or self.to_date):
            raise ValueError(f"Found days with mode = {self.mode!r}, expected mode = 'range'")
        if self.mode == "range" and not (self.from_date or self.to_date):
            raise ValueError("Found mode = 'range' without from_date and to_date, expected one of them at least")
        if self.from_date and self.to_date and self.from_date > self.to_date:
            raise ValueError(f"Found from_date = {self.from_date}, expected a day up to to_date, {self.to_date}")
        return self


def complete(start: Start, params: SyncReceipts) -> SyncReceipts:
    """With the connection that is meant where there is one only."""
    scope = {"business_id": start.business_id, "connection_id": params.connection_id}
    found = start.connection.execute(CONNECTIONS, scope).all()
    if not found:
        named = "A connection" if params.connection_id is None else f"Connection {params.connection_id}"
        raise MissingError(f"{named} was not found; connect a mailbox first")
    if len(found) > 1:
        raise RefusedError("This business has several connections; say which with connection_id", "which_connection")
    if found[0].status == "needs_reconnect":
        raise RefusedError("The mail server has refused the password; connect the mailbox anew", "needs_reconnect")
    return params.model_copy(update={"connection_id": found[0].id})


@job_kind(
    queue="receipts_sync",
    params=SyncReceipts,
    key=lambda params: str(params.connection_id),
    complete=complete,
    classify=classify,
    done_label="read",
    batch_size=20,
    throttle_ms=0,
    max_refusals_in_a_row=0,  # a mail that cannot be read says nothing of the next
    stale_heartbeat_seconds=180,
    running_per_business=2,  # a mail server that hangs holds a thread for as long as its time limits allow
)
def sync_receipts(run: Run[SyncReceipts]) -> Iterator[Batch]:
    log.info("run.start", job_id=run.job_id, mode=run.params.mode, connection_id=run.params.connection_id)
    began = time.monotonic()
    with Sync(run) as sync:
        # The numbers of a session hold; of the next one perhaps not: then all is listed again.
        if run.cursor.get("phase") != "read" or run.cursor["uidvalidity"] != sync.mailbox.position().uidvalidity:
            yield from _list(run, sync)
        yield from _read(run, sync)
    seconds = round(time.monotonic() - began, 1)
    log.info("run.done", job_id=run.job_id, seconds=seconds, saved=run.stats.get("saved_receipts", 0))


def _list(run: Run[SyncReceipts], sync: Sync) -> Iterator[Batch]:
    """Page by page into mail_messages. The window's end stays where it was at the start: new mail is for the next."""
    cursor = _window_of(run, sync)
    scope = run.scope(uidvalidity=cursor["uidvalidity"])
    while cursor["after"] < cursor["until"]:
        if cursor["pages"] % PAGES_PER_CHECK == 0:
            sync.check_room()
        window = Window(cursor["after"], cursor["until"], run.params.from_date, run.params.to_date)
        page, after = run.call(sync.mailbox.page, window, PAGE)
        cursor = {**cursor, "after": after, "pages": cursor["pages"] + 1}
        _add(run, pages_scanned=1, messages_listed=len(page))
        log.info("page.fetched", job_id=run.job_id, page=cursor["pages"], mails=len(page))
        note_page(run.begin(), page, scope, again=run.params.mode == "full")
        yield run.take([], cursor)
    last_uid = None if run.params.mode == "range" else cursor["until"]
    run.set_total(end_list(run.begin(), scope, last_uid=last_uid))
    kept = {"uidvalidity": cursor["uidvalidity"], "renumbered": _renumbered(cursor)}
    yield run.take([], {"phase": "read", "last_id": 0, **kept})


def _window_of(run: Run[SyncReceipts], sync: Sync) -> dict[str, Any]:
    """Where the list goes on; from its beginning if the server has numbered the folder anew meanwhile."""
    position, known = sync.mailbox.position(), sync.connection
    if run.cursor.get("phase") == "list" and run.cursor["uidvalidity"] == position.uidvalidity:
        return dict(run.cursor)
    renumbered = _renumbered(run.cursor) + bool(run.cursor)
    if renumbered > MOST_RENUMBERED:
        raise Permanent(f"The mail server numbered the folder anew {renumbered} times during this sync", "renumbered")
    same = known.uidvalidity == position.uidvalidity
    after = known.last_uid if run.params.mode == "incremental" and same else 0
    return {
        "phase": "list",
        "uidvalidity": position.uidvalidity,
        "after": after or 0,
        "until": position.last_uid,
        "pages": 0,
        "renumbered": renumbered,
    }


def _renumbered(cursor: Mapping[str, Any]) -> int:
    """How often the folder was numbered anew during the job; the release before did not count."""
    return int(cursor.get("renumbered", 0))


def _read(run: Run[SyncReceipts], sync: Sync) -> Iterator[Batch]:
    """In the order of the rows, each decided once. While a batch is stored, the next is fetched and parsed."""
    cursor, ahead = dict(run.cursor), None
    while reading := ahead or _next(run, sync, cursor):
        batch = run.take([row.id for row in reading.rows], {**cursor, "last_id": reading.rows[-1].id})
        with reading.in_memory():
            decisions = reading.decisions()
            batch.ids = [row.id for row in reading.rows]  # fewer, if they took long
            cursor = batch.cursor = {**cursor, "last_id": batch.ids[-1]}
            ahead = _next(run, sync, cursor)
            upload(run, decisions)
            store(run.begin(), run.business_id, decisions)
            _count(run, batch, decisions)
            del decisions  # not to be in memory beside the next
            yield batch


def _next(run: Run[SyncReceipts], sync: Sync, cursor: dict[str, Any]) -> Reading | None:
    rows = run.begin().execute(NEXT, run.scope(last_id=cursor["last_id"], limit=run.limit)).all()
    run.commit()
    if not rows:
        return None
    return Reading(run, sync, together(rows), cursor["uidvalidity"])


def _count(run: Run[SyncReceipts], batch: Batch, decisions: Sequence[Decision]) -> None:
    states = [decision.state for decision in decisions]
    batch.failed = states.count("unreadable")
    batch.succeeded = len(states) - batch.failed
    before = run.stats.get("messages_scanned", 0)
    names = {"receipt": "saved_receipts", "duplicate": "duplicates", "not_receipt": "not_receipts"}
    _add(run, messages_scanned=len(states), **{name: states.count(state) for state, name in names.items()})
    if before // PROGRESS_EACH != (before + len(states)) // PROGRESS_EACH:
        saved = run.stats["saved_receipts"]
        log.info("run.progress", job_id=run.job_id, messages=before + len(states), saved=saved)


def _add(run: Run[SyncReceipts], **counts: int) -> None:
    for name, number in counts.items():
        run.stats[name] = run.stats.get(name, 0) + number
