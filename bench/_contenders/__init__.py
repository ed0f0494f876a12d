"""One module per measured queue. Each has

- TITLE, and SERVER: "postgres" or "redis";
- NUMBER: messages for one drain, as many as it does in a few seconds;
- install(): creates its tables, if it has any;
- send(times): one message for each, sent one by one, each stored before the next is sent;
- send_at_once(times): all in one transaction or call; None if it has no such call;
- COMMANDS: its workers' command lines, as close to 2 processes of 8 threads as possible.

The actor is the same everywhere: `bench._effect.effect`. DATABASE_URL and REDIS_URL name the servers.
"""

from collections.abc import Callable, Sequence
from typing import Any

DRAMATIQ = ["--processes", "2", "--threads", "8"]


def sender(make_actor: Callable[[], Any]) -> Callable[[Sequence[float]], None]:
    """The send() of a contender that uses Dramatiq, with this actor."""

    def send(times: Sequence[float]) -> None:
        actor = make_actor()
        for at in times:
            actor.send(at)

    return send
