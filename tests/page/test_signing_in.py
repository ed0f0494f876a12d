"""Who is in, who is out, and what is left in the browser."""

import pytest
from playwright.sync_api import expect

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
