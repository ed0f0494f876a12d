import os
from collections.abc import Sequence

import dramatiq

from actors.runtime.base.config import load_settings
from actors.runtime.base.log import set_up_logging
from actors.runtime.messages.broker import Broker
from actors.runtime.worker.process import Process
from bench._contenders import DRAMATIQ, sender
from bench._effect import effect
from sql.engine import make_engine
from sql.release import release

TITLE = "Longhaul"
SERVER = "postgres"
NUMBER = 30_000
COMMANDS = [["dramatiq", "bench._contenders.longhaul:set_up", *DRAMATIQ]]


def set_up() -> None:
    settings = load_settings()
    set_up_logging("json")
    broker = Process(settings).broker()
    dramatiq.actor(effect, broker=broker, queue_name="low")
    dramatiq.set_broker(broker)


def install() -> None:
    release(make_engine(os.environ["DATABASE_URL"], application_name="bench"))


def _sender() -> "tuple[Broker, dramatiq.Actor[[float], None]]":
    engine = make_engine(os.environ["DATABASE_URL"], application_name="bench")
    broker = Broker(engine)
    return broker, dramatiq.actor(effect, broker=broker, queue_name="low")


send = sender(lambda: _sender()[1])


def send_at_once(times: Sequence[float]) -> None:
    broker, actor = _sender()
    broker.enqueue_many([actor.message(at) for at in times])
