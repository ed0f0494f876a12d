"""Draining messages that do nothing, with 2 processes of 8 threads, in turns."""

import statistics
import time
from typing import Any

from bench._arena import Arena, arena, table
from bench._effect import total
from service.processes import wait_until

RUNS = 3


def run() -> str:
    with arena() as place:
        rates: dict[str, list[float]] = {contender.TITLE: [] for contender in place.contenders}
        for _ in range(RUNS):  # in turns: what else the machine does meets all
            for contender in place.contenders:
                rates[contender.TITLE].append(drain(place, contender))
                print(f"  {contender.TITLE}: {rates[contender.TITLE][-1]:,.0f}", flush=True)
        medians = {title: statistics.median(found) for title, found in rates.items()}
        rows = [(title, f"{rate:,.0f}", f"{medians['Longhaul'] / rate:.2f}") for title, rate in medians.items()]
        head = (
            f"drain of messages that do nothing, 2 x 8 threads, median of {RUNS}",
            "messages/s",
            "Longhaul: x times",
        )
        return table(head, rows) + place.footnote()


def drain(place: Arena, contender: Any) -> float:
    """Messages per second, from the tenth of them that is done to the last: start-up is not measured."""
    with place.ready(contender):
        (contender.send_at_once or contender.send)([0.0] * contender.NUMBER)
        with place.working(contender) as effects:
            wait_until(lambda: total(effects) >= contender.NUMBER / 10, 120, "the first tenth")
            first, began = total(effects), time.perf_counter()
            wait_until(lambda: total(effects) >= contender.NUMBER, 300, "the last message")
            return (contender.NUMBER - first) / (time.perf_counter() - began)
