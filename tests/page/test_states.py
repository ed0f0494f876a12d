"""What a view looks like only for a while: accessible then too, in both languages and both colour schemes."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from service.local.processes import wait_until
from tests.page.person import Person, Site
from tests.page.test_views import overflow, violations
from tests.page.walk import LANGUAGES

pytestmark = pytest.mark.page


class States:
    def __init__(self, site: Site, dana: Person, language: str) -> None:
        self.site, self.dana, self.page = site, dana, dana.page
        dana.page.goto("/")
        read = "tag => import(`/assets/${tag}.js`).then(found => found.default)"
        self.sentences = dana.page.evaluate(read, language)
        self.business_id, token = site.business(receipts=60)
        dana.sign_in(token, self.say("sign_in.token"), self.say("sign_in.go"))

    def say(self, key: str) -> str:
        return str(self.sentences[key])

    def __iter__(self) -> Iterator[str]:
        yield from self._of_a_job()
        yield from self._without_a_server()
        yield from self._of_a_form()

    def _of_a_job(self) -> Iterator[str]:
        self.dana.button(self.say("receipts.delete_all")).click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("button", name=self.say("delete.next")).click()
        dialog.get_by_role("textbox").fill("DELETE")
        with self.site.held_up(self.business_id):
            dialog.get_by_role("button", name=self.say("receipts.delete_all")).click()
            expect(self.page.get_by_text(self.say("status.running"), exact=True)).to_be_visible()
            wait_until(lambda: self.dana.percent() > 5, 20, "the first batches")
            yield "running"
            self.dana.button(self.say("receipts.export")).click()
            expect(dialog).to_be_visible()
            yield "dialog over a running job"
            self.page.keyboard.press("Escape")
            self.dana.button(self.say("verb.pause")).click()
            expect(self.page.get_by_text(self.say("asked.pause"))).to_be_visible()
            yield "pausing"
        expect(self.page.get_by_text(self.say("status.paused"), exact=True)).to_be_visible()
        yield "paused"
        failed = self.site.make.job(
            self.business_id, "failed", job_type="export_receipts", last_error="The disk is full"
        )
        self.dana.go(f"jobs/{failed}")
        expect(self.page.get_by_text("The disk is full").first).to_be_visible()
        self.dana.rest()
        yield "failed"

    def _without_a_server(self) -> Iterator[str]:
        self.dana.may_say = "net::ERR_FAILED|status of 400"
        self.dana.go("jobs")
        self.dana.rest()
        self.page.route("**/api/**", lambda route: route.abort())
        expect(self.page.get_by_role("main").get_by_text(self.say("reach.gone"))).to_be_visible()
        yield "unreachable"
        self.dana.go("receipts")
        expect(self.page.get_by_text(self.say("error.unreachable"))).to_be_visible()
        yield "a view that cannot be had"
        self.page.unroute("**/api/**")

    def _of_a_form(self) -> Iterator[str]:
        fields = {"format": "Found format = 'csv': not today", "from_date": "Found from_date: too early"}
        body = {"success": False, "code": "invalid_input", "error": fields["format"], "fields": fields}
        self.page.route("**/api/jobs", lambda route: route.fulfill(status=400, json=body))
        self.dana.go("start/export_receipts")
        self.dana.button(self.say("start.go")).click()
        expect(self.page.locator("[aria-invalid]")).to_have_count(2)
        yield "a form with errors"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_axe_finds_nothing_in_any_state(language, scheme, site, person) -> None:
    options = {"locale": f"{language}-IL", "color_scheme": scheme, "reduced_motion": "reduce"}
    dana = person(site.address, viewport={"width": 360, "height": 740}, **options)
    found = {}
    for state in States(site, dana, language):
        found[state] = [*violations(dana.page), *(["it is too wide"] if overflow(dana.page) > 0 else [])]
    assert {state: wrong for state, wrong in found.items() if wrong} == {}
    assert len(found) == 8
