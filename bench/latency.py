"""From send to start, on idle workers."""

import time
from collections.abc import Iterator
from typing import Any

from bench._arena import Arena, arena, table
from bench._effect import latencies, total
from service.local.processes import wait_until

NUMBER = 200
PAUSE_SECONDS = 0.03


def run() -> str:
    with arena() as place:
        rows = [(contender.TITLE, *measure(place, contender)) for contender in place.senders]
        head = (f"send to start, idle workers, {NUMBER} messages", "p50 ms", "p99 ms", "most ms")
        return table(head, rows) + place.footnote()


def measure(place: Arena, contender: Any) -> tuple[str, ...]:
    with place.ready(contender), place.working(contender) as effects:
        contender.send([0.0] * 20)
        wait_until(lambda: total(effects) >= 20, 60, "the workers to be there")
        contender.send(Clock())
        wait_until(lambda: total(effects) >= 20 + NUMBER, 60, "the last message")
        found = sorted(latencies(effects))
    return tuple(f"{found[int((len(found) - 1) * part)] * 1000:.1f}" for part in (0.5, 0.99, 1))


class Clock:
    """Yields the current time for each message."""

    def __len__(self) -> int:
        return NUMBER

    def __iter__(self) -> Iterator[float]:
        for _ in range(NUMBER):
            time.sleep(PAUSE_SECONDS)
            yield time.time()
