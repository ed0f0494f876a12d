"""Sending: messages one by one, each stored before the next is sent, and all in one transaction or call."""

import statistics
import time
from typing import Any

from bench._arena import Arena, arena, table

RUNS = 3
NUMBER = 2_000


def run() -> str:
    with arena() as place:
        contenders = place.senders
        rates: dict[tuple[str, str], list[float]] = {}
        for _ in range(RUNS):
            for contender in contenders:
                for way in ("send", "send_at_once"):
                    if getattr(contender, way):
                        rates.setdefault((contender.TITLE, way), []).append(send(place, contender, way))
        medians = {key: statistics.median(found) for key, found in rates.items()}

        def cell(title: str, way: str) -> str:
            if (title, way) not in medians:
                return "none"
            return f"{medians[title, way]:,.0f} ({medians['Longhaul', way] / medians[title, way]:.2f})"

        rows = [(c.TITLE, cell(c.TITLE, "send"), cell(c.TITLE, "send_at_once")) for c in contenders]
        head = (
            f"messages sent per second by one sender, median of {RUNS} (Longhaul: x times)",
            "one by one",
            "at once",
        )
        return table(head, rows) + place.footnote()


def send(place: Arena, contender: Any, way: str) -> float:
    with place.ready(contender):
        began = time.perf_counter()
        getattr(contender, way)([0.0] * NUMBER)
        return NUMBER / (time.perf_counter() - began)
