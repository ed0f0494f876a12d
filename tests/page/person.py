"""Somebody at the page: what they do, and what must not happen meanwhile."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import ConsoleMessage, Locator, Page, Request, expect
from sqlalchemy import text

from tests.conftest import Make

LOCK_THE_MIDDLE = text("""
    SELECT FROM receipts WHERE id = (
        SELECT id FROM receipts WHERE business_id = :b ORDER BY id
        OFFSET (SELECT count(*) / 2 FROM receipts WHERE business_id = :b) LIMIT 1)
    FOR UPDATE
""")


@dataclass
class Site:
    address: str
    make: Make
    sql: Callable[..., list[dict[str, Any]]]

    def business(self, receipts: int = 0, name: str = "Dana & Sons", role: str = "owner") -> tuple[int, str]:
        """A new business with so many receipts, and a token for it."""
        business_id = self.make.business(name)
        if receipts:
            self.make.receipts(business_id, receipts)
        return business_id, self.make.token(business_id, role)

    @contextmanager
    def held_up(self, business_id: int) -> Iterator[None]:
        """Within this block a job that deletes all comes to the middle, and not past it: there is time to look."""
        with self.make.engine.connect() as other, other.begin() as transaction:
            other.execute(LOCK_THE_MIDDLE, {"b": business_id})
            yield
            transaction.rollback()

    def left(self, business_id: int) -> int:
        query = "SELECT count(*) AS n FROM receipts WHERE business_id = :id AND NOT is_deleted"
        return int(self.sql(query, id=business_id)[0]["n"])


@dataclass
class Person:
    page: Page
    address: str
    may_say: str = "^$"  # what the console may hold, as a pattern
    said: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    asked: set[Request] = field(default_factory=set)  # and not answered yet

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.asked.add(request))
        self.page.on("requestfinished", lambda request: self.asked.discard(request))
        self.page.on("requestfailed", lambda request: self.asked.discard(request))
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.said.append(f"uncaught: {error}"))
        self.page.on("request", self._note)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.said.append(message.text)

    def _note(self, request: Request) -> None:
        if not request.url.startswith((self.address, "data:", "about:")):
            self.strangers.append(request.url)

    def check(self) -> None:
        said = [text for text in self.said if not re.search(self.may_say, text)]
        assert not said, f"found on the console: {said}"
        assert not self.strangers, f"asked of other hosts: {self.strangers}"

    def sign_in(self, token: str, label: str = "Access token", button: str = "Sign in") -> None:
        self.page.goto("/")
        self.page.get_by_label(label).fill(token)
        self.page.get_by_role("button", name=button).click()
        expect(self.page.get_by_role("navigation").first).to_be_visible()

    def go(self, view: str, heading: str | None = None) -> None:
        """To a view, as by a link that somebody has sent."""
        self.page.evaluate("hash => { location.hash = hash }", f"#/{view}")
        if heading is not None:
            expect(self.heading(heading)).to_be_visible()

    def rest(self) -> None:
        """Until nothing has been asked of the server for a while, or only what is asked again and again."""
        quiet = 0
        while quiet < 5:
            self.page.wait_for_timeout(60)
            quiet = 0 if self.asked else quiet + 1

    def heading(self, name: str) -> Locator:
        return self.page.get_by_role("heading", name=name, exact=True, level=1)

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    @property
    def status(self) -> Locator:
        """What a screen reader is told."""
        return self.page.get_by_role("status")

    @property
    def progress(self) -> Locator:
        return self.page.get_by_role("progressbar").first

    def percent(self) -> float:
        return float(self.progress.evaluate("bar => bar.position < 0 ? 0 : 100 * bar.position"))

    def delete_all(self) -> None:
        self.go("receipts", "Receipts")
        self.button("Delete all").click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("button", name="Continue").click()
        dialog.get_by_label("Type DELETE").fill("DELETE")
        dialog.get_by_role("button", name="Delete all").click()
        expect(self.progress).to_be_visible()
