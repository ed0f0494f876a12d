import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench._contenders import DRAMATIQ, sender
from bench._effect import effect

TITLE = "Dramatiq on Redis"
SERVER = "redis"
NUMBER = 20_000
COMMANDS = [["dramatiq", "bench._contenders.dramatiq_redis:set_up", *DRAMATIQ]]

send_at_once = None


def install() -> None:
    pass


def _actor() -> "dramatiq.Actor[[float], None]":
    return dramatiq.actor(effect, broker=RedisBroker(url=os.environ["REDIS_URL"]), queue_name="low")


def set_up() -> None:
    dramatiq.set_broker(_actor().broker)


send = sender(_actor)
