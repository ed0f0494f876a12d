"""A real browser at the page of real web and worker processes.

One site serves all tests of a session but those that break it; each has a business of its own, and a fresh profile.
"""

import base64
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from actors.runtime.base.config import load_settings
from actors.runtime.base.storage import Bucket
from service.local.client import Client
from service.local.embedded import free_port
from service.local.processes import start_process, stop_process, wait_until
from sql.engine import make_engine
from tests.buckets import Buckets
from tests.conftest import Make, answers, runner
from tests.databases import Databases
from tests.page.person import Person, Site

expect.set_options(timeout=20_000)

CHROMIUM = [
    "--headless",
    "--no-sandbox",  # Chromium refuses to run as root with it
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# So slow that there is time to look and to press a button, and as slow as a test can afford.
SLOW = {"BATCH_SIZE": "10", "THROTTLE_MS": "250", "SYNC_RECEIPTS_THROTTLE_MS": "250", "GIVE_WAY_SECONDS": "300"}
FREE = {"READS_PER_SECOND": "0", "CHANGES_AT_ONCE": "0", "DELETE_RATE_LIMIT_SECONDS": "0"}


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None and "NEEDS_CHROMIUM" in os.environ:
        pytest.fail("Found no chromium on the path; this run must try the page in a browser")
    if program is None:
        # A contributor without a browser can still run everything else.
        pytest.skip("LEFT OUT: no chromium on the path, so the page is not tried (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM)
        yield browser
        browser.close()


def connecting() -> dict[str, str]:
    return {
        "CONNECTION_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "ALLOW_PRIVATE_HOSTS": "1",
    }


@pytest.fixture(scope="session")
def site(
    chromium: Browser,
    servers: dict[str, str],
    databases: Databases,
    buckets: Buckets,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """One web and one worker process, of all tests that break neither."""
    logs = tmp_path_factory.mktemp("site")
    with databases.one() as url, buckets.one() as bucket, ExitStack() as defer:
        own = {**servers, **bucket, "DATABASE_URL": url}
        environment = {**own, **SLOW, **FREE, **connecting(), "LOG_FORMAT": "json", "PORT": str(free_port())}
        for name in ("web", "worker"):
            with (logs / f"{name}.log").open("wb") as output:
                defer.callback(stop_process, start_process(name, environment, output), 0)
        engine = make_engine(environment["DATABASE_URL"], application_name="test")
        defer.callback(engine.dispose)
        sql = runner(engine)
        make = Make(sql, engine, Bucket(load_settings(environment)))
        place = Site(f"http://127.0.0.1:{environment['PORT']}", make, sql)
        wait_until(lambda: answers(Client(place.address)), 30, "the web process")
        wait_until(lambda: sql("SELECT FROM public.live_workers()"), 30, "the worker")
        yield place


@pytest.fixture
def person(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., Person]]:
    """person(address, token=None, **context): somebody with a browser profile of his own, signed in with the token.

    At the end nothing may have been on the console, and nothing asked of any other host; what a test expects there it
    names in `may_say`.
    """
    with ExitStack() as defer:
        people: list[Person] = []

        def come(address: str, token: str | None = None, **options: Any) -> Person:
            context = chromium.new_context(base_url=address, **{"locale": "en-GB", "timezone_id": "UTC", **options})
            defer.callback(context.close)
            people.append(Person(context.new_page(), address))
            people[-1].page.set_default_timeout(20_000)
            if token is not None:
                people[-1].sign_in(token)
            return people[-1]

        yield come
        if folder := os.environ.get("PAGE_SHOTS"):
            for number, one in enumerate(people):
                one.page.screenshot(path=Path(folder, f"{request.node.name[:80]}-{number}.png"), full_page=True)
        for one in people:
            one.check()
