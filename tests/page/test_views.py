"""All views: for everybody, in both languages, whatever stands in them, on a phone, and from right to left."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.conftest import worker_at
from tests.page.walk import LANGUAGES, Walk, full

pytestmark = pytest.mark.page

AXE = Axe()

HOSTILE = {
    "markup": "<img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script> {n} &amp; %s",
    "10 000 characters": "W" * 10_000,
    "right-to-left marks": "\u202eRTL\u2067 \u200fקבלה 12 (1).pdf\u2066 \u202c!",
}


def violations(page: Page) -> list[str]:
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.axe_script)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(found => found.violations)")
    return [f"{one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes'][:3]]}" for one in found]


def overflow(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_axe_finds_nothing_on_any_view(language, scheme, site, person) -> None:
    walk = Walk(site, person, language, full(site), color_scheme=scheme, reduced_motion="reduce")
    found = {name: wrong for name, one in walk if (wrong := violations(one.page))}
    assert found == {}


# Texts from outside whose direction could reach what stands around them.
BARE = """start => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
    while (texts.nextNode()) {
        const { data, parentElement } = texts.currentNode;
        if (data.includes(start) && !parentElement.closest("bdi, [dir=auto], option")) found.push(parentElement);
    }
    return found.map(one => one.outerHTML.slice(0, 200));
}"""
# What is cut off at a side of the window, or stands out of its box; but for a box that scrolls by itself.
WIDER = """
    [...document.querySelectorAll("main *, dialog *")]
        .filter(one => one.checkVisibility() && !one.closest(".unseen, svg, thead, select"))
        .map(one => [one, one.getBoundingClientRect()])
        .filter(([, { left, right }]) => left < -1 || right > innerWidth + 1)
        .map(([one]) => one.outerHTML.slice(0, 200))
"""


@pytest.fixture
def hostile_worker(site) -> Iterator[Callable[[str], None]]:
    """hostile_worker(text): a worker of that host and queue."""
    with ExitStack() as defer:

        def come(text: str) -> None:
            worker = defer.enter_context(worker_at(site.make.engine, [text]))
            site.sql("UPDATE workers SET hostname = :t WHERE id = :id", t=text, id=worker.info["worker_id"])

        yield come


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("what", HOSTILE)
def test_what_comes_from_outside_is_text_and_breaks_nothing(what, language, site, person, hostile_worker) -> None:
    text = HOSTILE[what]
    shown = set()
    hostile_worker(text)
    for name, one in Walk(site, person, language, full(site, text), viewport={"width": 360, "height": 740}):
        one.page.locator("details:not([open])").evaluate_all("all => all.forEach(one => { one.open = true })")
        assert "hacked" not in one.page.title()
        assert one.page.locator("img, iframe, script:not([type])").count() == 0
        assert overflow(one.page) <= 0, name
        assert one.page.evaluate(WIDER) == [], name
        assert one.page.evaluate(BARE, text[:30].strip()) == [], name
        if text[:100] in one.page.locator("body").inner_text():
            shown.add(name)
    assert shown >= {"receipts", "mailbox", "jobs", "job_failed", "job_paused", "job_waiting", "workers"}, shown


# All that a reader sees or hears, but for what is marked as coming from outside, as a moment, or as another language.
SENTENCES = """() => {
    const ofOthers = "bdi, time, [lang]:not(html)";
    const own = element => element.checkVisibility() && !element.closest(ofOthers);
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [document.title];
    while (texts.nextNode()) if (own(texts.currentNode.parentElement)) found.push(texts.currentNode.data);
    for (const name of ["aria-label", "title", "data-label"]) {
        const named = [...document.querySelectorAll(`[${name}]`)].filter(own);
        found.push(...named.map(element => element.getAttribute(name)));
    }
    return [...new Set(found.map(text => text.trim()))].filter(text => /\\p{L}/u.test(text));
}"""
# How Intl writes spans of time.
UNITS = """
    ["second", "minute", "hour", "day"].flatMap(unit => ["short", "long"].flatMap(unitDisplay =>
        [1, 2, 5, 20].map(n => new Intl.NumberFormat("he-IL", { style: "unit", unit, unitDisplay }).format(n))))
        .flatMap(text => text.split(/[\\d\\s]+/))
"""
DATA = "קפה הפינה"
NAMES = {"Longhaul", "DELETE", "UTC", "EUR"}


class Hebrew:
    """What the catalogue can say, with whatever may be filled in."""

    def __init__(self, catalogue: dict[str, Any], units: list[str]) -> None:
        sentences = [
            one for found in catalogue.values() for one in (found.values() if isinstance(found, dict) else [found])
        ]
        self.parts = {part.strip() for one in sentences for part in re.split(r"\{\w+\}", one)}
        self.filled = [
            re.compile(re.sub(r"\\\{\w+\\\}", "(.+)", re.escape(one)), re.DOTALL) for one in sentences if "{" in one
        ]
        self.words = {DATA, *NAMES, *units}

    def says(self, text: str, depth: int = 3) -> bool:
        text = text.strip().replace("\u2068", "").replace("\u2069", "")
        if text in self.parts or all(word in self.words for word in re.findall(r"[^\W\d_]\S*", text.replace(DATA, ""))):
            return True
        matches = (one.fullmatch(text) for one in self.filled) if depth else ()
        return any(found and all(self.says(value, depth - 1) for value in found.groups()) for found in matches)


def test_in_hebrew_all_that_is_seen_is_in_the_catalogue(site, person) -> None:
    left: dict[str, list[str]] = {}
    hebrew: Hebrew | None = None
    for name, one in (walk := Walk(site, person, "he", full(site, DATA))):
        hebrew = hebrew or Hebrew(walk.sentences, one.page.evaluate(UNITS))
        if unknown := [text for text in one.page.evaluate(SENTENCES) if not hebrew.says(text)]:
            left[name] = unknown
        assert one.page.evaluate("[document.documentElement.lang, document.documentElement.dir]") == ["he", "rtl"]
        assert re.search(r"[א-ת]", one.page.title()), name
    assert left == {}


# Where the blocks of a view begin and end; those that are as wide as they are long texts differ by language.
EDGES = """
    () => Object.fromEntries(["header .brand", "h1", "main", ".card", "table th:first-child", "dialog h2", "label"]
        .map(which => [which, document.querySelector(which)]).filter(([, element]) => element?.checkVisibility())
        .map(([which, element]) => {
            const { left, right } = element.getBoundingClientRect();
            return [which, { left, right: document.documentElement.clientWidth - right }];
        }))
"""


def test_each_view_in_hebrew_is_the_mirror_of_the_one_in_english(site, person) -> None:
    things = full(site)
    edges: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for language in LANGUAGES:
        walk = Walk(site, person, language, things)
        edges[language] = {name: one.page.evaluate(EDGES) for name, one in walk}
    for name, english in edges["en"].items():
        hebrew = edges["he"][name]
        assert english.keys() & hebrew.keys() >= {"header .brand", "main"}
        for block in english.keys() & hebrew.keys():
            assert abs(english[block]["left"] - hebrew[block]["right"]) <= 2, (name, block)


@pytest.mark.parametrize("language", LANGUAGES)
def test_at_320_pixels_nothing_is_cut_off_and_what_is_pressed_is_large_enough(language, site, person) -> None:
    walk = Walk(site, person, language, full(site), viewport={"width": 320, "height": 640})
    for name, one in walk:
        assert overflow(one.page) <= 0, name
        small = one.page.evaluate(
            """[...document.querySelectorAll("button, a.button, input, select, summary")]
                .filter(element => element.checkVisibility()).map(element => element.getBoundingClientRect())
                .filter(({ width, height }) => width < 24 || height < 24).length"""
        )
        assert small == 0, name


def test_the_first_view_is_small_and_asks_nobody_else(site, person) -> None:
    dana = person(site.address)
    sizes: list[int] = []
    session = dana.page.context.new_cdp_session(dana.page)
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    dana.page.goto("/")
    expect(dana.page.get_by_label("Access token")).to_be_visible()
    dana.page.wait_for_load_state("networkidle")
    assert 0 < sum(sizes) <= 60 * 1024, f"{sum(sizes)} bytes in {len(sizes)} answers"


SHOTS: dict[str, dict[str, Any]] = {
    "en": {"language": "en"},
    "he": {"language": "he"},
    "en-dark": {"language": "en", "color_scheme": "dark"},
    "he-phone": {"language": "he", "viewport": {"width": 390, "height": 844}, "device_scale_factor": 2},
    "en-phone-dark": {"language": "en", "viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
}


@pytest.mark.skipif("SCREENSHOTS" not in os.environ, reason="make screenshots makes them")
@pytest.mark.parametrize("shot", SHOTS)
def test_screenshots_of_every_view(shot, site, person) -> None:
    folder = Path(os.environ["SCREENSHOTS"])
    folder.mkdir(parents=True, exist_ok=True)
    options = dict(SHOTS[shot])
    for name, one in Walk(site, person, options.pop("language"), full(site), **options):
        one.page.screenshot(path=folder / f"{name}-{shot}.png", full_page="dialog" not in name)
