"""How often the truth lies inside the time left that the page shows, over simulated jobs of every temper."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route

from service.page.assets import STATIC

POLL_SECONDS = 1.5
START = 1_800_000_000.0

# Each look: what the page is told (now, status, processed, total, wait_until); asked of the module itself.
ASK = """async (looks) => {
    looks = JSON.parse(looks);
    const { TimeLeft } = await import("http://page.test/time_left.js");
    const left = new TimeLeft();
    return JSON.stringify(looks.map(([now, status, processed, total, wait_until]) => {
        const job = { status, processed, total, requested: null, rate: null,
                      wait_until: wait_until === null ? null : new Date(wait_until * 1000).toISOString() };
        left.observe(job, now);
        return left.range();
    }));
}"""

Step = tuple[float, int, str]  # seconds, items done at their end, the status meanwhile
Look = tuple[float, str, int, int, float | None]


def steady(dice: random.Random) -> Iterator[Step]:
    seconds = dice.uniform(0.2, 8)
    while True:
        yield seconds * dice.uniform(0.9, 1.1), 50, "running"


def uneven(dice: random.Random) -> Iterator[Step]:
    seconds = dice.uniform(0.3, 3)
    while True:
        yield seconds * dice.lognormvariate(0, 0.8), 20, "running"


def slowing(dice: random.Random) -> Iterator[Step]:
    seconds = dice.uniform(0.2, 2)
    while True:
        yield seconds, 50, "running"
        seconds *= 1 + seconds / 900  # half as fast after ten minutes


def with_turns_in_the_queue(dice: random.Random) -> Iterator[Step]:
    seconds = dice.uniform(0.3, 1.5)
    while True:
        for _ in range(int(30 / seconds)):
            yield seconds * dice.uniform(0.8, 1.2), 50, "running"
        yield dice.uniform(1, 20), 0, "queued"


def with_snoozes(dice: random.Random) -> Iterator[Step]:
    seconds, wait = dice.uniform(0.3, 1.5), dice.uniform(20, 90)
    while True:
        for _ in range(int(dice.uniform(20, 40) / seconds)):
            yield seconds * dice.uniform(0.8, 1.2), 20, "running"
        yield wait, 0, "snoozed"


def with_pauses(dice: random.Random) -> Iterator[Step]:
    seconds = dice.uniform(0.3, 2)
    while True:
        for _ in range(int(dice.uniform(20, 60) / seconds)):
            yield seconds * dice.uniform(0.8, 1.2), 50, "running"
        yield dice.uniform(30, 600), 0, "paused"


TEMPERS = [steady, uneven, slowing, with_turns_in_the_queue, with_snoozes, with_pauses]


def simulated(temper: Callable[[random.Random], Iterator[Step]], seed: int) -> tuple[list[Look], list[float]]:
    """The looks at a job, and at each how many seconds it then took; pauses of a person are not counted."""
    dice = random.Random(seed)
    aim = dice.uniform(60, 900)  # seconds at work, or nearly
    steps: list[tuple[float, float, Step]] = []
    clock = 0.0
    for step in temper(dice):
        steps.append((clock, clock + step[0], step))
        clock += step[0]
        if clock >= aim and step[2] == "running":
            break
    total = sum(items for _, _, (_, items, _) in steps)
    after = [0.0]  # seconds that count, from the end of each step on
    for begin, end, step in reversed(steps):
        after.append(after[-1] + (end - begin) * (step[2] != "paused"))
    after.reverse()
    looks: list[Look] = []
    truths: list[float] = []
    now, at, done = 0.0, 0, 0
    while now < clock:
        while steps[at][1] <= now:
            done += steps[at][2][1]
            at += 1
        _, ends, (_, _, status) = steps[at]
        wait_until = START + ends if status == "snoozed" else None
        looks.append((START + now, "queued" if status == "snoozed" else status, done, total, wait_until))
        truths.append(after[at + 1] + (ends - now) * (status != "paused"))
        now += POLL_SECONDS
    return looks, truths


@pytest.fixture
def module(chromium: Browser) -> Iterator[Page]:
    """A page that can import the page's modules, and nothing else."""

    def answer(route: Route) -> None:
        file = STATIC / urlsplit(route.request.url).path.lstrip("/")
        if file.suffix == ".js":
            route.fulfill(path=file, content_type="text/javascript")
        else:
            route.fulfill(body="<!doctype html>", content_type="text/html")

    page = chromium.new_page()
    page.route("**/*", answer)
    page.goto("http://page.test/")
    yield page
    page.close()


def ask(module: Page, looks: Sequence[Look]) -> list[dict[str, float] | None]:
    answer: list[dict[str, float] | None] = json.loads(module.evaluate(ASK, json.dumps(looks)))
    return answer


@pytest.mark.parametrize("temper", TEMPERS, ids=lambda temper: temper.__name__)
def test_the_truth_lies_inside_the_time_left_in_four_of_five_looks(
    module: Page, temper: Callable[[random.Random], Iterator[Step]]
) -> None:
    inside = shown = looked = 0
    widths: list[float] = []
    for seed in range(12):
        looks, truths = simulated(temper, seed)
        known = temper is not with_snoozes  # nobody can foresee the first
        for look, range_, truth in zip(looks, ask(module, looks), truths, strict=True):
            known = known or look[4] is not None
            if not known:
                continue
            looked += look[1] != "paused"
            if range_ is None:
                continue
            shown += 1
            widths.append(range_["high"] / max(range_["low"], 1))
            inside += range_["low"] - POLL_SECONDS <= truth <= range_["high"] + POLL_SECONDS
    share, width = inside / shown, sorted(widths)[len(widths) // 2]
    told = f"inside {share:.0%}, shown {shown / looked:.0%}, high is {width:.2f} times low in the middle"
    assert share >= 0.8, told
    assert shown / looked >= 0.4, f"it says so little that nobody can use it: {told}"
    assert width <= 3, f"a range so wide is no answer: {told}"


def test_nothing_is_shown_until_it_means_something(module: Page) -> None:
    first = [(START + n * POLL_SECONDS, "running", 50 * n, 1000, None) for n in range(6)]
    assert ask(module, first) == [None] * 6


def test_nothing_is_shown_of_a_job_that_stands_still_is_paused_or_has_no_total(module: Page) -> None:
    moving: list[Look] = [(START + n, "running", 50 * n, 10_000, None) for n in range(30)]
    assert ask(module, moving)[-1] is not None
    for last in (
        (START + 300, "running", 1450, 10_000, None),
        (START + 31, "paused", 1450, 10_000, None),
        (START + 31, "running", 1450, None, None),
        (START + 31, "failed", 1450, 10_000, None),
    ):
        assert ask(module, [*moving, last])[-1] is None  # type: ignore[list-item]


def test_a_snooze_that_goes_on_is_counted_as_it_is(module: Page) -> None:
    moving: list[Look] = [(START + n, "running", 50 * n, 10_000, None) for n in range(60)]
    before, after = ask(module, [*moving, (START + 60, "queued", 2950, 10_000, START + 660)])[-2:]
    assert before is not None
    assert after is not None
    assert 595 <= after["low"] - before["low"] <= 605


def test_the_range_is_never_upside_down_and_ends_with_the_job(module: Page) -> None:
    looks, _ = simulated(steady, 3)
    told = [one for one in ask(module, looks) if one]
    assert all(0 <= one["low"] <= one["high"] for one in told)
    assert told[-1]["high"] < told[0]["high"]
    assert max(abs(b["high"] - a["high"]) / a["high"] for a, b in pairwise(told[:-8])) < 0.5, "it jumps"
