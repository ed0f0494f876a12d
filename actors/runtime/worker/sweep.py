"""The sweep: puts what dead workers held back into the queue. Each worker runs it about every second.

Which workers are dead is decided in sql/functions/workers/live_workers.sql.
"""

from collections.abc import Iterable

import structlog
from sqlalchemy import Connection, text

from actors.runtime.base.config import Settings
from actors.runtime.jobs.kinds import Kind
from actors.runtime.jobs.reconcile import RELEASED_AT_A_TIME, Steps, Swept, reconcile, scalar
from sql.locks import SWEEP, holding

log = structlog.get_logger("longhaul.sweep")

RECOVER_MESSAGES = text("SELECT public.recover_messages()")
DROP_STALE = text("SELECT public.drop_stale_messages(CAST(:queues AS text[]), CAST(:actors AS text[]), :most)")
ENQUEUE_DUE = text("SELECT public.enqueue_due_messages()")
SWEPT = text("UPDATE watched_clock SET swept_at = clock_timestamp()")
RESEND_LOST = text("SELECT id FROM public.resend_lost_messages()")


def sweep(connection: Connection, kinds: Iterable[Kind], settings: Settings) -> Swept | None:
    """One short round; None if another worker is sweeping. Each step has its own transaction, and fails alone."""
    kinds = list(kinds)
    with holding(connection, SWEEP) as held:
        if not held:
            return None
        swept = _sweep(connection, kinds, settings)
    for event, ids in (
        ("sweep.recovered", swept.recovered),
        ("sweep.stale", swept.stale),
        ("sweep.resent", swept.woken),
    ):
        if ids:
            log.warning(event, jobs=ids)
    if swept.messages:
        log.warning("sweep.messages", number=swept.messages)
    return swept


def _sweep(connection: Connection, kinds: list[Kind], settings: Settings) -> Swept:
    swept = reconcile(connection, settings)
    stale = {
        "queues": list({kind.queue for kind in kinds}),
        "actors": [name for kind in kinds for name in kind.names],
        "most": RELEASED_AT_A_TIME,
    }
    steps = Steps(connection, swept)
    swept.dropped = steps.take("stale messages", scalar(DROP_STALE, stale)) or 0
    swept.messages = steps.take("messages", scalar(RECOVER_MESSAGES)) or 0
    swept.released = steps.take("due messages", scalar(ENQUEUE_DUE)) or 0
    swept.woken = steps.take("lost messages", lambda session: list(session.scalars(RESEND_LOST))) or []
    steps.take("swept", lambda session: session.execute(SWEPT))
    return swept
