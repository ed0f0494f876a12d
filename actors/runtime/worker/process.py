"""One worker process under Dramatiq's command line: its parts, and how it starts and stops."""

import os
import signal
from functools import partial
from threading import Event

import dramatiq
import structlog

from actors.runtime.base.config import Settings, load_settings
from actors.runtime.base.failures import describe
from actors.runtime.base.log import set_up_logging
from actors.runtime.base.periodic import Periodic
from actors.runtime.base.storage import Bucket
from actors.runtime.base.streams import print_without_waiting
from actors.runtime.jobs.beats import BEAT_SECONDS, Beats
from actors.runtime.jobs.blockers import LOOK_SECONDS, Waits
from actors.runtime.jobs.context import JobContext
from actors.runtime.jobs.kinds import by_every_name, load_kinds
from actors.runtime.jobs.perform import perform
from actors.runtime.messages.acks import QUEUED, Ack, Acks
from actors.runtime.messages.broker import Broker
from actors.runtime.messages.consumer import POLL_SECONDS
from actors.runtime.messages.delivery import Delivery, Outcome
from actors.runtime.messages.fetcher import Fetcher
from actors.runtime.messages.identity import Identity
from actors.runtime.outbox import purge_all_due
from actors.runtime.worker.retention import clear_old_rows
from actors.runtime.worker.signals import install_stop_handler
from actors.runtime.worker.sweep import sweep
from sql.engine import make_engine

log = structlog.get_logger("longhaul.worker")

SWEEP_SECONDS = 1
FLUSH_SECONDS = 1
PURGE_SECONDS = 5
RETENTION_SECONDS = 3600


class Process(dramatiq.Middleware):
    """The process's threads besides Dramatiq's, and its hooks into Dramatiq's life cycle."""

    def __init__(self, settings: Settings, stopping: Event | None = None) -> None:
        self.settings = settings
        self.kinds = load_kinds()
        self.stopping = stopping or Event()
        # One for each thread, one for the fetcher, one for the acks, one for the chores.
        self.engine = make_engine(
            settings.DATABASE_URL,
            application_name="longhaul worker",
            pool_size=settings.WORKER_THREADS + 3,
            max_overflow=0,
        )
        self.bucket = Bucket(settings)
        self.identity = Identity(self.engine, settings, list(by_every_name(self.kinds.values())))
        self.acks = Acks(self.engine)
        self.fetcher = Fetcher(self.identity, self.acks, self.stopping, settings.WORKER_THREADS, self._look_around)
        self.sweeper = Periodic(SWEEP_SECONDS, "sweep", self._sweep)
        self.purger = Periodic(PURGE_SECONDS, "purge", partial(purge_all_due, self.engine, self.bucket))
        self.flusher = Periodic(FLUSH_SECONDS, "acks", self.acks.flush)
        self.waits = Waits()
        self.watcher = Periodic(LOOK_SECONDS, "watch", partial(self.waits.look, self.engine))
        self.beats = Beats()
        self.beater = Periodic(BEAT_SECONDS, "beats", partial(self.beats.beat, self.engine))
        self.cleaner = Periodic(RETENTION_SECONDS, "retention", partial(clear_old_rows, self.engine, settings))
        self.worker: dramatiq.Worker | None = None
        self.parent = os.getppid()

    def _sweep(self) -> bool:
        with self.engine.connect() as session:
            swept = sweep(session, self.kinds.values(), self.settings)
        return swept is not None and swept.goes_on

    def broker(self) -> Broker:
        """The broker with this process as its middleware and an actor for each kind."""
        broker = Broker(self.engine, self.fetcher, self.acks, [self], self._decide)
        place = JobContext(
            self.engine,
            self.settings,
            self.identity.worker_id,
            self.stopping,
            self.purger.wake,
            self.waits,
            self.beats,
            tuple(by_every_name(self.kinds.values())),
            self.bucket,
        )
        for name, kind in by_every_name(self.kinds.values()).items():
            cap = kind.setting(self.settings, "MAX_RUNTIME_SECONDS")
            broker.declare_job(name, kind.queue, cap, partial(perform, kind=kind, place=place, types=kind.names))
        return broker

    def _decide(self, delivery: Delivery) -> Outcome:
        """Drops what a lost identity claimed. Puts back what a stopping worker need not begin, and what a suspended one
        may have lost: if it has, that changes nothing.
        """
        if delivery.worker_id != self.identity.current:
            return Outcome.DROP
        if self.stopping.is_set() or not self.identity.is_fresh():
            return Outcome.REQUEUE
        return Outcome.RUN

    def after_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        self.worker = worker
        for waiting in worker.workers:
            waiting.timeout = POLL_SECONDS
        self.identity.queues = [name for name in self.settings.WORKER_QUEUES if name in broker.queues]
        self.fetcher.is_paused = lambda: any(consumer.paused for consumer in list(worker.consumers.values()))
        for thread in (self.fetcher, self.sweeper, self.flusher, self.purger, self.watcher, self.beater, self.cleaner):
            thread.start()

    def _look_around(self) -> None:
        """Called each second. Ends an orphaned process, which nobody would ever stop. Replaces dead threads."""
        if os.getppid() != self.parent:
            log.error("worker.orphaned", error="the process that started this one is gone")
            os.kill(os.getpid(), signal.SIGTERM)
        if self.worker is None or self.stopping.is_set():
            return
        for thread in [thread for thread in self.worker.workers if thread.running and not thread.is_alive()]:
            log.critical("thread.died", name=thread.name)
            self.worker.workers.remove(thread)
            self.worker._add_worker()
            self.worker.workers[-1].timeout = POLL_SECONDS
            for delivery in self.fetcher.left_by(thread):
                self.acks.add(Ack.of(delivery, QUEUED))  # has no effect if its ack is already in flight

    def before_worker_shutdown(self, _broker: dramatiq.Broker, _worker: dramatiq.Worker) -> None:
        if not self.stopping.is_set():  # stopped by a program, not by a signal
            self.stopping.set()

    def after_worker_shutdown(self, _broker: dramatiq.Broker, _worker: dramatiq.Worker) -> None:
        # What the purger leaves is in the outbox; what the fetcher leaves, any other worker's sweep finds.
        for step in (
            partial(self.fetcher.stop, seconds=2),
            partial(self.sweeper.stop, seconds=2),
            partial(self.purger.stop, seconds=2),
            partial(self.cleaner.stop, seconds=1),
            partial(self.watcher.stop, seconds=1),
            partial(self.beater.stop, seconds=1),
            partial(self.flusher.stop, seconds=1),
            partial(self.fetcher.give_back),
            partial(self.acks.flush),
            partial(self.identity.deregister),
        ):
            try:
                step()
            except Exception as error:  # what cannot be written now is recovered as after a crash
                log.warning("stop.failed", step=step.func.__qualname__, error=describe(error))
        log.info("worker.stop")


def set_up() -> None:
    """Dramatiq's command line calls this in each worker process to get its broker."""
    stopping = install_stop_handler()
    settings = load_settings()
    set_up_logging(settings.LOG_FORMAT)
    print_without_waiting()  # not into Dramatiq's pipe to its parent, which may also be full
    dramatiq.set_broker(Process(settings, stopping).broker())
