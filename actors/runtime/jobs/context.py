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
    stopping: Event  # set when the process was told to go
    wake_outbox: Callable[[], None]  # effects outside Postgres may be waiting now
    waits: Waits = field(default_factory=Waits)  # batches that the process's watcher looks at
    beats: Beats = field(default_factory=Beats)  # jobs that are at work outside Postgres
    kinds: tuple[str, ...] = ()  # what this process works on
    bucket: Bucket | None = None  # None: one is made when a kind asks for it
