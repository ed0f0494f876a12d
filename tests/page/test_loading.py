"""The first load when a file does not come: a sentence and a way to try again, never an empty page."""

import pytest
from playwright.sync_api import expect

from tests.page.person import Person

pytestmark = pytest.mark.page

SENTENCE = {"en-GB": "This page could not be loaded.", "he-IL": "הדף לא נטען."}
AGAIN = {"en-GB": "Try again", "he-IL": "ניסיון נוסף"}


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
@pytest.mark.parametrize("file", ["main", "dom", "en", "he"])
def test_a_page_whose_file_does_not_come_says_so_and_loads_when_it_is_tried_again(file, motion, site, person) -> None:
    language = "he-IL" if file == "he" else "en-GB"
    dana: Person = person(site.address, locale=language, reduced_motion=motion)
    dana.may_say = "net::ERR_|uncaught: |Failed to fetch dynamically"
    dana.page.route(f"**/assets/{file}.*.js", lambda route: route.abort())
    dana.page.goto("/")
    expect(dana.page.get_by_text(SENTENCE[language])).to_be_visible()
    dana.page.unroute(f"**/assets/{file}.*.js")
    dana.page.get_by_role("link", name=AGAIN[language]).click()
    expect(dana.page.get_by_role("heading", level=1)).to_be_visible()
    expect(dana.page.get_by_text(SENTENCE["en-GB"])).to_have_count(0)


@pytest.mark.parametrize(
    ("file", "act", "title"),
    [("delete_all", "Delete all", "Delete all receipts?"), ("export", "Export", "Export receipts")],
)
def test_a_dialog_whose_file_does_not_come_says_so_at_its_button(file, act, title, site, person) -> None:
    _, token = site.business(receipts=3)
    dana: Person = person(site.address, token)
    dana.may_say = "net::ERR_|Failed to fetch dynamically"
    everything = ["**/api/session", f"**/assets/{file}.*.js"]
    for pattern in everything:
        dana.page.route(pattern, lambda route: route.abort())
    dana.button(act).click()
    expect(dana.page.get_by_role("main").get_by_text("The server cannot be reached.")).to_be_visible()
    for pattern in everything:
        dana.page.unroute(pattern)
    dana.button(act).click()
    expect(dana.page.get_by_role("dialog", name=title)).to_be_visible()
    expect(dana.page.get_by_text("The server cannot be reached.")).to_have_count(0)


def test_a_job_whose_panel_does_not_come_leaves_the_receipts_as_they_are(site, person) -> None:
    business_id, token = site.business(receipts=3)
    site.make.job(business_id=business_id, status="paused", total=3)
    dana: Person = person(site.address)
    dana.may_say = "net::ERR_|Failed to fetch dynamically"
    dana.page.route("**/assets/job_panel.*.js", lambda route: route.abort())
    dana.sign_in(token)
    expect(dana.page.get_by_role("main").get_by_text("There is a newer version of this page.")).to_be_visible()
    expect(dana.page.get_by_role("row")).to_have_count(4)
