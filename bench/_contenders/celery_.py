import os
from collections.abc import Sequence

from celery import Celery

from bench._effect import effect

TITLE = "Celery on Redis"
SERVER = "redis"
NUMBER = 3_000
COMMANDS = [
    ["celery", "--app", "bench._contenders.celery_", "worker", "--pool", "threads", "--concurrency", "8", "-n", name]
    for name in ("one", "two")
]

send_at_once = None


def _app() -> Celery:
    app = Celery(broker=os.environ.get("REDIS_URL", ""))
    app.conf.task_ignore_result = True
    app.task(name="effect")(effect)
    return app


app = _app()  # for its command line


def install() -> None:
    pass


def send(times: Sequence[float]) -> None:
    task = _app().tasks["effect"]
    for at in times:
        task.delay(at)
