"""Who is in, who is out, and what is left in the browser."""

import pytest
from playwright.sync_api import expect

from tests.page.person import Person

pytestmark = pytest.mark.page

TOKEN = "Access token"


def sign_out(dana, everywhere: bool = False) -> None:
    dana.page.get_by_text("Account").click()
    dana.button("Sign out everywhere" if everywhere else "Sign out").click()
    expect(dana.page.get_by_label(TOKEN)).to_be_visible()


def test_a_wrong_token_is_refused_in_words_and_the_next_try_is_taken(site, person) -> None:
    _, token = site.business()
    dana = person(site.address)
    dana.may_say = "status of 401"
    dana.page.goto("/")
    dana.page.get_by_label(TOKEN).fill("lh_1_wrong")
    dana.button("Sign in").click()
    expect(dana.page.get_by_text("This token is not known").first).to_be_visible()
    dana.page.get_by_label(TOKEN).fill(token)
    dana.button("Sign in").click()
    expect(dana.heading("Receipts")).to_be_visible()


def test_a_reload_stays_in_and_no_script_can_read_token_or_session(site, person) -> None:
    _, token = site.business(receipts=1)
    dana = person(site.address, token)
    dana.page.reload()
    expect(dana.heading("Receipts")).to_be_visible()
    (cookie,) = dana.page.context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == ("longhaul_session", True, "Strict")
    seen = dana.page.evaluate("document.cookie + JSON.stringify({...localStorage, ...sessionStorage})")
    assert token not in seen
    assert cookie["value"] not in seen


def test_who_signs_out_is_out_after_back_and_reload_too(site, person) -> None:
    _, token = site.business(receipts=2)
    dana = person(site.address, token)
    dana.go("jobs", "Jobs")
    sign_out(dana)
    assert dana.page.context.cookies() == []
    for look in (dana.page.go_back, dana.page.reload):
        look()
        expect(dana.page.get_by_label(TOKEN)).to_be_visible()
        expect(dana.page.get_by_role("table")).to_have_count(0)


def test_a_page_out_of_the_back_forward_cache_asks_again(site, person) -> None:
    _, token = site.business(receipts=2)
    dana = person(site.address, token)
    expect(dana.page.get_by_text("2 receipts")).to_be_visible()
    dana.page.goto("/api/docs")
    site.sql("DELETE FROM sessions")
    dana.page.go_back()
    expect(dana.page.get_by_label(TOKEN)).to_be_visible()


def test_signing_out_everywhere_ends_the_other_browser_too(site, person) -> None:
    _, token = site.business(receipts=2)
    dana, dana_at_home = person(site.address, token), person(site.address, token)
    dana_at_home.may_say = "status of 401"
    sign_out(dana, everywhere=True)
    dana_at_home.go("jobs")
    expect(dana_at_home.page.get_by_text("Your session has ended. Sign in again.")).to_be_visible()


def test_a_token_that_is_revoked_ends_the_page_at_its_next_look(site, person) -> None:
    business_id, token = site.business(receipts=20)
    dana = person(site.address, token)
    dana.may_say = "status of 401"
    with site.held_up(business_id):
        dana.delete_all()
        site.sql("UPDATE api_tokens SET revoked_at = now() WHERE business_id = :b", b=business_id)
        expect(dana.page.get_by_label(TOKEN)).to_be_visible()
        expect(dana.page.get_by_role("progressbar")).to_have_count(0)


def test_a_member_sees_all_and_is_offered_nothing_that_he_may_not(site, person) -> None:
    _, token = site.business(receipts=3, role="member")
    noam = person(site.address, token)
    expect(noam.page.get_by_text("3 receipts")).to_be_visible()
    for name in ("Delete all", "Export"):
        expect(noam.button(name)).to_have_count(0)
    noam.go("mailbox", "Mailbox")
    expect(noam.button("Connect a mailbox")).to_have_count(0)


def other_signs_in(dana, token: str) -> None:
    """In the same browser, without the page: its other tabs are told nothing."""
    answer = dana.page.context.request.post(
        "/api/session", data={"token": token}, headers={"Sec-Fetch-Site": "same-origin"}
    )
    assert answer.status == 200


def test_a_tab_of_one_business_deletes_nothing_of_another_that_signed_in_since(site, person) -> None:
    _, token = site.business(receipts=3, name="Dana & Sons")
    other_id, other_token = site.business(receipts=7, name="Noam Ltd")
    dana = person(site.address, token)
    dana.may_say = "status of 401"
    dana.button("Delete all").click()
    dialog = dana.page.get_by_role("dialog")
    dialog.get_by_role("button", name="Continue").click()
    dialog.get_by_label("Type DELETE").fill("DELETE")
    other_signs_in(dana, other_token)
    dialog.get_by_role("button", name="Delete all").click()
    expect(dana.page.get_by_label(TOKEN)).to_be_visible()
    expect(dialog).to_have_count(0)
    assert site.sql("SELECT FROM background_jobs WHERE business_id = :b", b=other_id) == []
    assert site.left(other_id) == 7


def test_the_other_tab_follows_when_somebody_signs_out_and_in(site, person) -> None:
    tokens = [site.business(receipts=n, name=name)[1] for n, name in ((3, "Dana & Sons"), (7, "Noam Ltd"))]
    dana = person(site.address, tokens[0])
    second = Person(dana.page.context.new_page(), site.address)
    second.page.goto("/")
    expect(second.page.get_by_text("3 receipts")).to_be_visible()
    sign_out(second)
    expect(dana.page.get_by_label(TOKEN)).to_be_visible()
    second.sign_in(tokens[1])
    expect(dana.page.get_by_text("Noam Ltd")).to_be_visible()


def test_a_tab_that_is_looked_at_again_asks_who_is_signed_in(site, person) -> None:
    dana = person(site.address, site.business(name="Dana & Sons")[1])
    dana.may_say = "status of 401"  # what it polls is refused at the same moment
    other_signs_in(dana, site.business(name="Noam Ltd")[1])
    dana.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(dana.page.get_by_text("Noam Ltd")).to_be_visible()


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_sign_out_that_fails_is_said_so_and_nobody_is_out(site, person, everywhere) -> None:
    dana = person(site.address, site.business(receipts=2)[1])
    dana.may_say = "status of 503|net::ERR_FAILED"
    fails = {"success": False, "error": "The database is unavailable at the moment", "code": "unavailable"}
    dana.page.route("**/api/session*", lambda route: route.fulfill(status=503, json=fails))
    dana.page.get_by_text("Account").click()
    dana.button("Sign out everywhere" if everywhere else "Sign out").click()
    expect(dana.page.get_by_role("main").get_by_text("The database cannot be used at the moment.")).to_be_visible()
    expect(dana.heading("Receipts")).to_be_visible()
    dana.page.unroute("**/api/session*")
    dana.button("Sign out everywhere" if everywhere else "Sign out").click()
    expect(dana.page.get_by_label(TOKEN)).to_be_visible()


def test_who_comes_next_begins_anew_and_not_where_the_other_was(site, person) -> None:
    _, token = site.business(receipts=2)
    dana = person(site.address, token)
    dana.go("jobs?status=failed", "Jobs")
    sign_out(dana)
    dana.page.get_by_label(TOKEN).fill(token)
    dana.button("Sign in").click()
    expect(dana.heading("Receipts")).to_be_visible()


def test_a_page_older_than_the_servers_files_says_so_and_offers_a_reload(site, person) -> None:
    dana = person(site.address, site.business()[1])
    dana.may_say = "status of 404"
    dana.page.route("**/assets/jobs.*", lambda route: route.fulfill(status=404, json={}))
    dana.go("jobs")
    expect(dana.page.get_by_text("There is a newer version of this page. Reload it.")).to_be_visible()
    dana.page.unroute("**/assets/jobs.*")
    dana.button("Reload").click()
    expect(dana.heading("Jobs")).to_be_visible()
