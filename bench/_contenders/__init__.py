"""One module per queue that is measured. Each has

- TITLE, and SERVER: "postgres" or "redis";
- NUMBER: messages for one drain, as many as it does in some seconds;
- install(): makes its tables, if it has any;
- send(times): one message for each, sent one by one, each safe when the next is sent;
- send_at_once(times): all in one transaction or call; None where there is no such thing;
- COMMANDS: its workers' command lines, as close to 2 processes of 8 threads as it comes.

The actor is the same everywhere: `bench._effect.effect`. What serves Postgres is in DATABASE_URL, Redis in REDIS_URL.
"""

from collections.abc import Callable, Sequence
from typing import Any

DRAMATIQ = ["--processes", "2", "--threads", "8"]


def sender(make_actor: Callable[[], Any]) -> Callable[[Sequence[float]], None]:
    """The send() of a contender under Dramatiq, whose actor is this."""

    def send(times: Sequence[float]) -> None:
        actor = make_actor()
        for at in times:
            actor.send(at)

    return send
