import os

import dramatiq
from dramatiq_pg import PostgresBroker
from psycopg2.extensions import parse_dsn

from bench._contenders import DRAMATIQ, sender
from bench._contenders.longhaul import install
from bench._effect import effect

__all__ = ["COMMANDS", "NUMBER", "SERVER", "TITLE", "install", "send", "send_at_once", "set_up"]

TITLE = "stock dramatiq-pg"
SERVER = "postgres"
NUMBER = 3_000
COMMANDS = [["dramatiq", "bench._contenders.stock:set_up", *DRAMATIQ]]

send_at_once = None


def _actor() -> "dramatiq.Actor[[float], None]":
    broker = PostgresBroker(url=parse_dsn(os.environ["DATABASE_URL"]), results=False)
    return dramatiq.actor(effect, broker=broker, queue_name="low")


def set_up() -> None:
    dramatiq.set_broker(_actor().broker)


send = sender(_actor)
