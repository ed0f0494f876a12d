import os
from collections.abc import Sequence

from redis import Redis
from rq import Queue

from bench._effect import effect

TITLE = "RQ"
SERVER = "redis"
NUMBER = 300
COMMANDS = [["sh", "-c", 'exec rq worker --quiet --url "$REDIS_URL"']] * 2  # it forks for each message, one at a time

send_at_once = None


def install() -> None:
    pass


def send(times: Sequence[float]) -> None:
    queue = Queue(connection=Redis.from_url(os.environ["REDIS_URL"]))
    for at in times:
        queue.enqueue(effect, at)
