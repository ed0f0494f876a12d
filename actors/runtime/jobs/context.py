"""What a worker process gives to the jobs that run in it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

from sqlalchemy import Engine

from actors.runtime.base.config import Settings
from actors.runtime.base.storage import Bucket
from actors.runtime.jobs.beats import Beats
from actors.runtime.jobs.blockers import Waits


@dataclass(frozen=True)
class JobContext:
    engine: Engine
    settings: Settings
    worker_id: Callable[[], int]
    stopping: Event  # set once the process is told to stop
    wake_outbox: Callable[[], None]  # call it if effects outside Postgres may be waiting
    waits: Waits = field(default_factory=Waits)  # batches that the process's watcher checks
    beats: Beats = field(default_factory=Beats)  # jobs that work outside Postgres
    kinds: tuple[str, ...] = ()  # that this process performs
    bucket: Bucket | None = None  # None: created when a kind asks for it
