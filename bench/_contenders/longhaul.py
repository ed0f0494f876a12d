"""Our broker with an actor that does nothing, for Dramatiq's command line."""

import dramatiq

from actors.runtime.config import load_settings
from actors.runtime.log import set_up_logging
from actors.runtime.worker import Process


def nothing() -> None:
    """What is measured is the queue."""


def set_up() -> None:
    settings = load_settings()
    set_up_logging("json")
    broker = Process(settings).broker()
    dramatiq.actor(nothing, broker=broker, queue_name="low")
    dramatiq.set_broker(broker)
