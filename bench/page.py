"""The page: 1 000 of them that poll one web dyno, what the first view weighs, and how soon it is painted."""

import shutil
import statistics
from typing import Any

from bench._arena import table
from bench._pollers import EACH_SECONDS, Poller, poll
from bench._site import Site, percentiles, site
from service.local.processes import wait_until

POLLERS, BUSINESSES = 1_000, 50
WARM_UP_SECONDS, SECONDS = 5, 30
SLOWER = 4  # times, as DevTools does it
LOADS = 5
GOALS = {"p99": "250 ms", "bytes": "60 KB", "paint": "1 s"}

PAINT = """() => new Promise(resolve => new PerformanceObserver(list => resolve(list.getEntries().at(-1).startTime))
    .observe({ type: "largest-contentful-paint", buffered: true }))"""
CHROMIUM = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip


def run() -> str:
    with site(workers=1, BATCH_SIZE=10, THROTTLE_MS=2_000, WORKER_THREADS=BUSINESSES, WEB_CONCURRENCY=2) as place:
        rows = [*_polls(place), *_loads(place)]
    return table(("the page, on a web dyno of 2 processes", "", "goal"), rows)


def _polls(place: Site) -> list[tuple[str, str, str]]:
    pollers = []
    for _ in range(BUSINESSES):
        owner = place.owner(receipts=2_000)
        job_id = owner.post("/api/receipts/delete_all", {"confirm": "DELETE"}).body["job_id"]
        wait_until(lambda o=owner, j=job_id: o.get(f"/api/jobs/{j}").body["processed"] > 0, 60, "the jobs to run")  # type: ignore[misc]
        token = owner.headers["Authorization"].removeprefix("Bearer ")
        for _ in range(POLLERS // BUSINESSES):
            cookie = owner.post("/api/session", {"token": token}).headers["set-cookie"].partition(";")[0]
            pollers.append(Poller(place.port, f"/api/jobs/{job_id}", cookie))
    poll(pollers, WARM_UP_SECONDS, SECONDS)
    times = [seconds for one in pollers for seconds in one.times]
    p50, p99, most = (f"{1000 * seconds:.0f} ms" for seconds in percentiles(times))
    rate = len(times) / SECONDS
    asked = f"{POLLERS:,} pollers, each every {EACH_SECONDS} s, of {BUSINESSES} running jobs: {rate:.0f} polls/s"
    return [(f"{asked}: p50", p50, ""), ("… p99", p99, GOALS["p99"]), ("… most", most, "")]


def _loads(place: Site) -> list[tuple[str, str, str]]:
    program = shutil.which("chromium")
    if program is None:
        return [("largest contentful paint: left out, as no chromium is on the path", "", "")]
    from playwright.sync_api import sync_playwright

    owner = place.owner(receipts=500)
    token = owner.headers["Authorization"].removeprefix("Bearer ")
    made = owner.post("/api/session", {"token": token}).headers["set-cookie"]
    name, _, session = made.partition(";")[0].partition("=")
    cookie = {"name": name, "value": session, "url": f"http://127.0.0.1:{place.port}"}
    rows = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM)
        for view, cookies in (("sign in, the first view", []), ("receipts, 50 of them", [cookie])):
            found = [_load(browser, place.port, cookies) for _ in range(LOADS)]
            paint = statistics.median(seconds for seconds, _, _ in found)
            _, sent, answers = found[0]
            rows.append((f"{view}: bytes over the wire, in {answers} answers", f"{sent / 1024:.1f} KB", GOALS["bytes"]))
            rows.append((f"… largest contentful paint, CPU {SLOWER} times slower", f"{paint:.0f} ms", GOALS["paint"]))
        browser.close()
    return rows


def _load(browser: Any, port: int, cookies: list[dict[str, str]]) -> tuple[float, int, int]:
    """Milliseconds until the largest paint, bytes over the wire, and in how many answers; with an empty cache."""
    with browser.new_context() as context:
        context.add_cookies(cookies)
        page = context.new_page()
        session, sizes = context.new_cdp_session(page), []
        session.send("Network.enable")
        session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_load_state("networkidle")
        return page.evaluate(PAINT), sum(sizes), len(sizes)
