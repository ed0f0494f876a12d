"""One worker process under Dramatiq's command line: what it is made of, and how it starts and stops."""

import signal
from functools import partial
from threading import Event
from types import FrameType
from typing import Any

import dramatiq
import structlog

from actors.runtime.broker import Broker
from actors.runtime.config import Settings, load_settings
from actors.runtime.every import Every
from actors.runtime.kinds import load_kinds
from actors.runtime.log import set_up_logging
from actors.runtime.loop import Workplace
from actors.runtime.presence import Presence
from actors.runtime.purge import purge_all_due
from actors.runtime.retention import clear_old_rows
from actors.runtime.storage import Bucket
from actors.runtime.sweep import sweep
from actors.runtime.work import work_on
from sql.engine import make_engine

log = structlog.get_logger("longhaul.worker")

SWEEP_SECONDS = 1
PURGE_SECONDS = 5
RETENTION_SECONDS = 3600


class Process(dramatiq.Middleware):
    """The process's own threads beside Dramatiq's, and its part in Dramatiq's life cycle."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.kinds = load_kinds()
        self.stopping = Event()
        self.engine = make_engine(
            settings.DATABASE_URL,
            application_name="longhaul worker",
            pool_size=settings.WORKER_THREADS + 1,
            max_overflow=2,
        )
        self.bucket = Bucket(settings)
        queues = [name for name in settings.WORKER_QUEUES if any(kind.queue == name for kind in self.kinds.values())]
        self.presence = Presence(self.engine, settings, queues)
        self.sweeper = Every(SWEEP_SECONDS, "sweep", self._sweep)
        self.purger = Every(PURGE_SECONDS, "purge", partial(purge_all_due, self.engine, self.bucket))
        self.cleaner = Every(RETENTION_SECONDS, "retention", partial(clear_old_rows, self.engine, settings))

    def broker(self) -> Broker:
        """The broker with this process as its middleware and an actor for each kind."""
        broker = Broker(self.settings, self.stopping, [self])
        place = Workplace(self.engine, self.settings, self.presence.worker_id, self.stopping, self.purger.poke)
        for kind in self.kinds.values():
            cap = kind.setting(self.settings, "MAX_RUNTIME_SECONDS")
            broker.add_kind(kind, cap, partial(work_on, kind=kind, place=place))
        return broker

    def _sweep(self) -> None:
        sweep(self.presence.beat(), self.kinds.values(), self.settings)

    def after_process_boot(self, _broker: dramatiq.Broker) -> None:
        """Takes SIGTERM before Dramatiq's own handler does.

        Jobs hear of it at once, not up to a second later. Repeats are ignored: the platform signals every process
        and Dramatiq's parent forwards it, and Dramatiq would answer the second one by exiting in mid-batch.
        """
        dramatiq_handler: Any = signal.getsignal(signal.SIGTERM)

        def stop(number: int, frame: FrameType | None) -> None:
            if not self.stopping.is_set():
                self.stopping.set()
                dramatiq_handler(number, frame)

        signal.signal(signal.SIGTERM, stop)

    def before_worker_boot(self, _broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        # Claim no more messages of a queue than can be worked on: nothing may be parked behind a long job.
        worker.queue_prefetch = self.settings.WORKER_THREADS

    def after_worker_boot(self, _broker: dramatiq.Broker, _worker: dramatiq.Worker) -> None:
        for thread in (self.sweeper, self.purger, self.cleaner):
            thread.start()

    def before_worker_shutdown(self, _broker: dramatiq.Broker, _worker: dramatiq.Worker) -> None:
        self.stopping.set()  # where another signal than SIGTERM, or one that came very early, ends the process

    def after_worker_shutdown(self, _broker: dramatiq.Broker, _worker: dramatiq.Worker) -> None:
        # What the purger leaves is in the outbox, what the sweeper leaves is found by any other worker's.
        for thread in (self.sweeper, self.purger):
            thread.stop(seconds=2)
        self.presence.leave()
        log.info("worker.stop")


def set_up() -> None:
    """What Dramatiq's command line calls in each worker process, to find its broker."""
    settings = load_settings()
    set_up_logging(settings.LOG_FORMAT)
    dramatiq.set_broker(Process(settings).broker())
