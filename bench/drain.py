"""Draining messages that do nothing, with 2 processes of 8 threads, in turns."""

import statistics
import time
from typing import Any, NamedTuple

from bench._arena import Arena, arena, table
from bench._effect import total
from service.local.processes import wait_until

RUNS = 3


class Drained(NamedTuple):
    rate: float  # messages per second
    workers: float  # microseconds of CPU per message
    server: float


def run() -> str:
    with arena() as place:
        found: dict[str, list[Drained]] = {contender.TITLE: [] for contender in place.contenders}
        for _ in range(RUNS):  # in turns: other load on the machine affects all
            for contender in place.contenders:
                found[contender.TITLE].append(drain(place, contender))
                print(f"  {contender.TITLE}: {found[contender.TITLE][-1].rate:,.0f}", flush=True)
        medians = {title: Drained(*map(statistics.median, zip(*runs, strict=True))) for title, runs in found.items()}
        ours = medians["Longhaul"]
        rows = [
            (
                title,
                f"{it.rate:,.0f}",
                f"{ours.rate / it.rate:.2f}",
                f"{it.workers:,.0f} + {it.server:,.0f}",
                f"{(it.workers + it.server) / (ours.workers + ours.server):.2f}",
            )
            for title, it in medians.items()
        ]
        head = (
            f"drain of messages that do nothing, 2 x 8 threads, median of {RUNS}",
            "messages/s",
            "Longhaul: x times",
            "CPU per message, µs: workers + server",
            "Longhaul: x times less",
        )
        return table(head, rows) + place.footnote()


def drain(place: Arena, contender: Any) -> Drained:
    """From the first tenth of the messages to the last: startup is not measured."""
    with place.ready(contender):
        (contender.send_at_once or contender.send)([0.0] * contender.NUMBER)
        with place.working(contender) as effects:
            wait_until(lambda: total(effects) >= contender.NUMBER / 10, 120, "the first tenth")
            first, began, used = total(effects), time.perf_counter(), place.cpu_seconds(contender)
            wait_until(lambda: total(effects) >= contender.NUMBER, 300, "the last message")
            done, seconds = contender.NUMBER - first, time.perf_counter() - began
            workers, server = (
                (after - before) / done * 1e6 for before, after in zip(used, place.cpu_seconds(contender), strict=True)
            )
            return Drained(done / seconds, workers, server)
