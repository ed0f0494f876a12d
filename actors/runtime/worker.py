"""One worker process under Dramatiq's command line: what it is made of, and how it starts and stops."""

import inspect
import signal
from contextlib import suppress
from functools import partial
from threading import Event, Lock
from types import FrameType
from typing import Any

import dramatiq
import structlog
from dramatiq.middleware import SkipMessage
from sqlalchemy import Connection

from actors.runtime.blockers import LOOK_SECONDS, Waits
from actors.runtime.broker import LOOK_UP_SECONDS, Broker, in_hand
from actors.runtime.config import Settings, load_settings
from actors.runtime.delivery import Delivery, Settlements
from actors.runtime.every import Every
from actors.runtime.feeder import Feeder
from actors.runtime.kinds import load_kinds
from actors.runtime.log import set_up_logging
from actors.runtime.loop import Workplace
from actors.runtime.presence import Presence
from actors.runtime.purge import purge_all_due
from actors.runtime.retention import clear_old_rows
from actors.runtime.storage import Bucket
from actors.runtime.sweep import RELEASED_AT_A_TIME, sweep
from actors.runtime.work import work_on
from sql.engine import make_engine

log = structlog.get_logger("longhaul.worker")

SETTLE_SECONDS = 1
PURGE_SECONDS = 5
RETENTION_SECONDS = 3600


class Process(dramatiq.Middleware):
    """The process's own threads beside Dramatiq's, and its part in Dramatiq's life cycle."""

    def __init__(self, settings: Settings, stopping: Event | None = None) -> None:
        self.settings = settings
        self.kinds = load_kinds()
        self.stopping = stopping or Event()
        # One for each thread, one for the feeder, one for the purge, one for all that is short.
        self.engine = make_engine(
            settings.DATABASE_URL,
            application_name="longhaul worker",
            pool_size=settings.WORKER_THREADS + 3,
            max_overflow=0,
        )
        self.bucket = Bucket(settings)
        self.presence = Presence(self.engine, settings)
        self.settlements = Settlements(self.engine)
        self.feeder = Feeder(
            self.presence,
            self.settlements,
            self.stopping,
            threads=settings.WORKER_THREADS,
            tick=self._sweep,
        )
        self.purger = Every(PURGE_SECONDS, "purge", partial(purge_all_due, self.engine, self.bucket))
        self.waits = Waits()
        self.watcher = Every(LOOK_SECONDS, "watch", partial(self.waits.look, self.engine))
        self.settler = Every(SETTLE_SECONDS, "settle", self.settlements.flush)
        self.cleaner = Every(RETENTION_SECONDS, "retention", partial(clear_old_rows, self.engine, settings))

    def _sweep(self, session: Connection) -> bool:
        swept = sweep(session, self.kinds.values(), self.settings)
        return swept is not None and max(swept.released, swept.dropped) >= RELEASED_AT_A_TIME

    def broker(self) -> Broker:
        """The broker with this process as its middleware and an actor for each kind."""
        broker = Broker(self.engine, self.feeder, self.settlements, [self])
        place = Workplace(
            self.engine, self.settings, self.presence.worker_id, self.stopping, self.purger.poke, self.waits
        )
        for kind in self.kinds.values():
            cap = kind.setting(self.settings, "MAX_RUNTIME_SECONDS")
            broker.add_kind(kind, cap, partial(work_on, kind=kind, place=place))
        return broker

    def after_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        for waiting in worker.workers:
            waiting.timeout = LOOK_UP_SECONDS
        self.presence.queues = [name for name in self.settings.WORKER_QUEUES if name in broker.queues]
        for thread in (self.feeder, self.settler, self.purger, self.cleaner, self.watcher):
            thread.start()

    def before_process_message(self, _broker: dramatiq.Broker, message: Delivery) -> None:
        """Skips what was claimed by an identity that is lost. Gives back what a stopping worker need not begin, and
        what one that stood still may have lost: if it did, that changes nothing.
        """
        message.void = message.worker_id != self.presence.current
        message.returned = self.stopping.is_set() or not self.presence.is_fresh()
        if message.void or message.returned:
            raise SkipMessage
        in_hand.set(message)

    def after_process_message(
        self, _broker: dramatiq.Broker, _message: Delivery, *, result: Any = None, exception: Any = None
    ) -> None:
        in_hand.set(None)

    def before_worker_shutdown(self, _broker: dramatiq.Broker, _worker: dramatiq.Worker) -> None:
        if not self.stopping.is_set():  # stopped by a program, not by a signal
            self.stopping.set()

    def after_worker_shutdown(self, _broker: dramatiq.Broker, _worker: dramatiq.Worker) -> None:
        # What the purger leaves is in the outbox, what the feeder leaves is found by any other worker's sweep.
        self.feeder.stop(seconds=2)
        self.purger.stop(seconds=2)
        with suppress(Exception):  # what cannot be written now is recovered like after a crash
            self.feeder.give_back()
            self.settlements.flush()
            self.presence.leave()
        log.info("worker.stop")


def heed_stop_once() -> Event:
    """Puts our handler of SIGTERM and SIGHUP before Dramatiq's; returns the event that it sets.

    Jobs hear of it at once, not up to a second later. Repeats are ignored, also of one that came before us: the
    platform signals every process and Dramatiq's parent forwards it, and Dramatiq would answer the second one by
    exiting in mid-batch. A repeat may interrupt the handler itself at any line: an Event that is set within its own
    set() waits for itself for ever, hence the lock in front, which is taken in one step and never given back.
    """
    stopping, first = Event(), Lock()
    dramatiq_handler: Any = signal.getsignal(signal.SIGTERM)

    def still_running() -> bool:
        return bool(inspect.getclosurevars(dramatiq_handler).nonlocals["running"])

    def stop(number: int, frame: FrameType | None) -> None:
        if not first.acquire(blocking=False):
            return
        stopping.set()
        if still_running():
            dramatiq_handler(number, frame)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    if not still_running() and first.acquire(blocking=False):
        stopping.set()
    return stopping


def set_up() -> None:
    """What Dramatiq's command line calls in each worker process, to find its broker."""
    stopping = heed_stop_once()
    settings = load_settings()
    set_up_logging(settings.LOG_FORMAT)
    dramatiq.set_broker(Process(settings, stopping).broker())
