"""What the page says while something is down, and that it goes on by itself."""

import re
import signal
from contextlib import suppress

import pytest
from playwright.sync_api import Error, expect

from service.local.client import Client
from service.local.embedded import free_port
from service.local.processes import wait_until
from tests.conftest import answers, minutes_ago
from tests.page.person import Site

pytestmark = pytest.mark.page


def test_a_worker_that_is_killed_in_the_middle_costs_the_page_nothing(web, start, make, sql, person) -> None:
    place = Site(web(READS_PER_SECOND=0).address, make, sql)
    business_id, token = place.business(receipts=60)
    worker = start("worker", BATCH_SIZE=10)
    dana = person(place.address, token)
    with place.held_up(business_id):
        dana.delete_all()
        wait_until(lambda: dana.percent() == 50, 30, "the first batches")
        worker.signal(signal.SIGKILL)
        start("worker", BATCH_SIZE=10)
    wait_until(lambda: dana.percent() > 50, 60, "the bar to go on")
    expect(dana.page.get_by_text("60 receipts were deleted.").first).to_be_visible(timeout=60_000)
    expect(dana.page.get_by_text("60 of 60")).to_be_visible()


def test_a_stale_job_says_so_and_offers_to_go_on(site, person) -> None:
    business_id, token = site.business(receipts=15)
    job_id = site.make.job(
        business_id,
        "running",
        total=15,
        processed=0,
        heartbeat_at=minutes_ago(10),
        updated_at=minutes_ago(10),
        worker_id=None,
    )
    dana = person(site.address, token)
    expect(dana.page.get_by_text("Stuck - No update").first).to_be_visible()
    expect(dana.page.get_by_text("Task hasn't updated for 5 minutes")).to_be_visible()
    expect(dana.page.get_by_role("button", name="Start a new one")).to_be_visible()
    dana.button("Resume").click()
    expect(dana.page.get_by_text("15 receipts were deleted.").first).to_be_visible()
    assert site.sql("SELECT status FROM background_jobs WHERE id = :id", id=job_id) == [{"status": "completed"}]


def test_in_hebrew_a_stale_job_says_it_in_the_known_words(site, person) -> None:
    business_id, token = site.business(receipts=5)
    site.make.job(business_id, "running", heartbeat_at=minutes_ago(10), updated_at=minutes_ago(10), worker_id=None)
    dana = person(site.address, locale="he-IL")
    dana.sign_in(token, "אסימון גישה", "כניסה")
    expect(dana.page.get_by_text("תקוע - אין עדכון").first).to_be_visible()
    expect(dana.page.get_by_text("המשימה לא התעדכנה מזה 5 דקות")).to_be_visible()


def test_a_server_that_is_down_is_said_so_and_the_page_goes_on_when_it_is_back(start, make, sql, person) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    place = Site(address, make, sql)
    business_id, token = place.business(receipts=60)

    def serve():
        process = start("web", PORT=port, READS_PER_SECOND=0)
        wait_until(lambda: answers(Client(address)), 30, "the web process")
        return process

    served = serve()
    start("worker", BATCH_SIZE=10)
    dana = person(address, token)
    dana.may_say = r"Failed to load resource: net::ERR_"
    gone = dana.page.get_by_text("The server cannot be reached. This page keeps trying by itself.")
    with place.held_up(business_id):
        dana.delete_all()
        served.stop()
        expect(gone.first).to_be_visible()
        assert dana.percent() <= 50
    serve()
    expect(gone).to_have_count(0, timeout=60_000)
    expect(dana.page.get_by_text("60 receipts were deleted.").first).to_be_visible(timeout=60_000)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (500, "The server answered with an error. It is asked again by itself."),
        (503, "The database is out of disk space"),
    ],
)
def test_an_error_of_the_server_is_said_so_and_the_page_goes_on(site, person, status, told) -> None:
    business_id, token = site.business(receipts=40)
    dana = person(site.address, token)
    dana.may_say = f"status of {status}"
    fails = {"success": False, "error": "The database is out of disk space", "code": "unavailable"}
    with site.held_up(business_id):
        dana.delete_all()
        dana.page.route(re.compile("/api/jobs/[0-9]+$"), lambda route: route.fulfill(status=status, json=fails))
        expect(dana.page.get_by_role("main").get_by_text(told)).to_be_visible()
        dana.page.unroute(re.compile("/api/jobs/[0-9]+$"))
        expect(dana.page.get_by_role("main").get_by_text(told)).to_have_count(0)
    expect(dana.page.get_by_text("40 receipts were deleted.").first).to_be_visible()


def test_a_look_that_is_answered_late_does_not_undo_what_a_button_has_done(site, person) -> None:
    business_id, token = site.business()
    site.make.job(business_id, "paused", total=5)
    dana = person(site.address, token)
    dana.go("jobs", "Jobs")
    held = []

    def hold(route) -> None:
        if held:
            return route.continue_()
        fresh = {name: value for name, value in route.request.headers.items() if name != "if-none-match"}
        return held.append((route, route.fetch(headers=fresh)))

    dana.page.get_by_role("table", name="Jobs").get_by_role("link").click()
    expect(dana.button("Cancel job")).to_be_visible()
    dana.page.route(re.compile("/api/jobs/[0-9]+$"), hold)
    wait_until(lambda: held or dana.page.wait_for_timeout(20), 20, "a look")
    dana.button("Cancel job").click()
    expect(dana.page.get_by_text("Cancelled", exact=True).first).to_be_visible()
    ((route, answer),) = held
    with suppress(Error):  # the page has given it up
        route.fulfill(response=answer)
    dana.page.wait_for_timeout(500)
    expect(dana.button("Cancel job")).to_have_count(0, timeout=1)
