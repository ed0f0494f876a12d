"""Workers whose actor holds its message until it is released, ours and stock dramatiq-pg's."""

import os
import time
from pathlib import Path

import dramatiq
from dramatiq_pg import PostgresBroker
from psycopg2.extensions import parse_dsn

from actors.runtime.base.config import load_settings
from actors.runtime.base.log import set_up_logging
from actors.runtime.worker.process import Process


def hold(number: int) -> None:
    """Records who began and when, and holds the message until the file exists."""
    folder = Path(os.environ["BENCH_EFFECTS"])
    (folder / f"{number}.{os.getpid()}").write_text(str(time.time()))
    while not (folder / f"{number}.released").exists():
        time.sleep(0.02)


def effect(_at: float) -> None:
    """The load: does nothing."""


def _declare(broker: dramatiq.Broker) -> None:
    for function in (hold, effect):
        dramatiq.actor(function, broker=broker, queue_name="low")
    dramatiq.set_broker(broker)


def ours() -> None:
    settings = load_settings()
    set_up_logging("json")
    _declare(Process(settings).broker())


def stock() -> None:
    _declare(PostgresBroker(url=parse_dsn(os.environ["DATABASE_URL"]), results=False))
