"""Stock dramatiq-pg with the same actor."""

import os

import dramatiq
from dramatiq_pg import PostgresBroker
from psycopg2.extensions import parse_dsn


def nothing() -> None:
    """What is measured is the queue."""


def set_up() -> None:
    broker = PostgresBroker(url=parse_dsn(os.environ["DATABASE_URL"]), results=False)
    dramatiq.actor(nothing, broker=broker, queue_name="low")
    dramatiq.set_broker(broker)
