"""What a look at the server leaves alone: the focus, a selection, how far one has scrolled; and lists that grow."""

import re

import pytest
from playwright.sync_api import Page, expect

from service.local.processes import wait_until
from tests.conftest import minutes_ago

pytestmark = pytest.mark.page

SELECT = "element => getSelection().selectAllChildren(element)"
HIDE = """hidden => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def moved_by_hand(site, business_id: int, events: int) -> int:
    """A job that no worker touches, with so many events."""
    job_id = site.make.job(business_id, "paused", total=100)
    site.sql(
        """INSERT INTO job_events (job_id, at, event, from_status, to_status, actor, reason, attempt)
           SELECT :id, now() - interval '1 h', 'row_failed', 'running', 'running', 'worker:1', 'no. ' || n, 1
           FROM generate_series(1, :n) AS n""",
        id=job_id,
        n=events,
    )
    move(site, job_id, 10)
    return job_id


def move(site, job_id: int, processed: int) -> None:
    site.sql(
        """UPDATE background_jobs SET processed = :p, succeeded = :p, updated_at = now(),
               stats = jsonb_build_object('attachments_deleted', :p) WHERE id = :id""",
        id=job_id,
        p=processed,
    )


def selected(page: Page) -> str:
    return str(page.evaluate("getSelection().toString()")).strip()


def test_a_look_at_a_job_leaves_selection_focus_and_scrolling_alone(site, person) -> None:
    business_id, token = site.business()
    job_id = moved_by_hand(site, business_id, events=80)
    dana = person(site.address, token)
    page = dana.page
    dana.go(f"jobs/{job_id}")
    expect(page.get_by_text("10 of 100")).to_be_visible()
    page.get_by_text("For whoever runs the service").click()
    page.get_by_text("All 80 events").click()
    events = page.locator("ol.events")
    events.evaluate("element => { element.scrollTop = 700 }")
    for number, words in enumerate(("Files deleted", "Asked for", "All 80 events", "no. 7"), start=2):
        page.get_by_text(words, exact=True).first.evaluate(SELECT)
        events.evaluate("element => element.focus({ preventScroll: true })")
        with page.expect_response(re.compile("/events"), timeout=15_000):  # each 10 s
            move(site, job_id, 10 * number)
        expect(page.get_by_text(f"{number}0 of 100")).to_be_visible()
        page.wait_for_timeout(200)
        assert selected(page) == words
        assert events.evaluate("element => [document.activeElement === element, element.scrollTop]") == [True, 700]
    expect(page.locator(".why details[open]")).to_be_visible()


def test_events_come_once_each_however_many_there_are(site, person) -> None:
    business_id, token = site.business()
    job_id = moved_by_hand(site, business_id, events=2100)
    dana = person(site.address, token)
    dana.go(f"jobs/{job_id}")
    expect(dana.page.get_by_text("All 2,100 events")).to_be_visible()
    site.sql("SELECT cancel_job(:id, 'user:7')", id=job_id)
    expect(dana.page.get_by_text("All 2,101 events")).to_be_visible()
    reasons = dana.page.locator("ol.events .clamp").evaluate_all("all => all.map(one => one.textContent)")
    assert len(set(reasons)) == len(reasons) >= 2100


def test_a_list_that_grows_keeps_the_focus_and_loses_no_job_between_its_pages(site, person) -> None:
    business_id, token = site.business()
    ids = [site.make.job(business_id, "completed") for _ in range(50)]
    dana = person(site.address, token)
    dana.go("jobs", "Jobs")
    links = dana.page.get_by_role("table", name="Jobs").get_by_role("link")
    expect(links).to_have_count(50)
    links.nth(3).focus()
    focused = links.nth(3).inner_text()
    more = [site.make.job(business_id, "completed") for _ in range(3)]
    expect(links.first).to_contain_text(f"#{more[-1]}")
    assert dana.page.evaluate("document.activeElement.innerText") == focused
    more.append(site.make.job(business_id, "completed"))  # after "Next page" was drawn
    expect(links.first).to_contain_text(f"#{more[-1]}")
    first = links.all_inner_texts()
    dana.page.get_by_role("link", name="Next page").click()
    expect(links).to_have_count(4)
    shown = [int(text.partition("#")[2]) for text in [*first, *links.all_inner_texts()]]
    assert shown == [*reversed(more), *reversed(ids)]


def test_from_a_page_that_has_become_empty_a_link_leads_back(site, person) -> None:
    business_id, token = site.business(receipts=26)
    job_id = site.make.job(business_id, "completed")
    (oldest,) = site.sql("SELECT min(id) AS id FROM receipts WHERE business_id = :b", b=business_id)
    dana = person(site.address, token)
    for view, heading, after in (
        ("receipts", "Receipts", oldest["id"]),
        ("jobs", "Jobs", job_id),
        ("mailbox", "Mailbox", 1),
    ):
        dana.go(f"{view}?after={after}", heading)
        dana.page.get_by_role("link", name="First page").click()
        expect(dana.page).to_have_url(re.compile(f"#/{view}$"))


@pytest.mark.parametrize("view", ["jobs", "workers"])
def test_a_list_is_not_asked_for_while_nobody_looks_and_at_once_when_somebody_does(site, person, view) -> None:
    boss = person(site.address, site.make.token(None, "operator"))
    boss.may_say = "status of 503"
    asked: list[str] = []
    boss.page.on("request", lambda one: "/api/jobs" in one.url and asked.append(one.url))
    boss.go(view, view.title())
    wait_until(lambda: asked or boss.page.wait_for_timeout(20), 10, "the first look")
    boss.page.wait_for_timeout(500)
    boss.page.evaluate(HIDE, True)
    before = len(asked)
    boss.page.wait_for_timeout(7_000)
    assert len(asked) == before
    boss.page.evaluate(HIDE, False)
    wait_until(lambda: len(asked) > before or boss.page.wait_for_timeout(20), 2, "a look at once")


def test_a_list_in_which_nothing_moves_is_not_sent_again(site, person) -> None:
    business_id, token = site.business()
    site.make.job(business_id, "paused", total=5)
    dana = person(site.address, token)
    statuses: list[int] = []
    dana.page.on("response", lambda one: "/api/jobs?" in one.url and statuses.append(one.status))
    dana.go("jobs", "Jobs")
    wait_until(lambda: len(statuses) >= 3 or dana.page.wait_for_timeout(20), 20, "three looks")
    assert statuses[:3] == [200, 304, 304]


def test_how_long_ago_something_ended_goes_on_without_the_server(site, person) -> None:
    business_id, token = site.business()
    job_id = site.make.job(business_id, "completed", finished_at=minutes_ago(0), total=0)
    dana = person(site.address, token)
    dana.go(f"jobs/{job_id}")
    ended = dana.page.get_by_text(re.compile("^Ended [0-9]+ seconds ago$"))
    first = ended.inner_text()
    expect(ended).not_to_have_text(first, timeout=4_000)


def test_what_is_said_while_a_dialog_is_open_is_said_in_it(site, person) -> None:
    dana = person(site.address, site.business(receipts=2)[1])
    dana.may_say = "status of 503"
    fails = {"success": False, "error": "The database is unavailable at the moment", "code": "unavailable"}
    dana.page.route("**/api/receipts/delete_all", lambda route: route.fulfill(status=503, json=fails))
    dana.button("Delete all").click()
    dialog = dana.page.get_by_role("dialog")
    dialog.get_by_role("button", name="Continue").click()
    dialog.get_by_label("Type DELETE").fill("DELETE")
    dialog.get_by_role("button", name="Delete all").click()
    expect(dialog.get_by_role("status")).to_contain_text("The database cannot be used at the moment.")
    dana.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
