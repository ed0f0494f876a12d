"""Deleting all receipts from the page: asked twice, watched, paused, cancelled, looked at anew."""

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from service.local.processes import wait_until

pytestmark = pytest.mark.page


def test_the_dialog_asks_twice_says_what_goes_and_gives_the_focus_back(site, person, tmp_path) -> None:
    business_id, token = site.business()
    site.make.attachments(site.make.receipts(business_id, 30)[:20], tmp_path)
    dana = person(site.address, token)
    dana.button("Delete all").click()
    dialog = dana.page.get_by_role("dialog", name="Delete all receipts?")
    expect(dialog).to_contain_text("30 receipts")
    expect(dialog).to_contain_text("20 attachments")
    dialog.get_by_role("button", name="Continue").click()
    typed, delete = dialog.get_by_label("Type DELETE"), dialog.get_by_role("button", name="Delete all")
    expect(typed).to_be_focused()
    expect(delete).to_be_disabled()
    for text in ("delete", "DELET", "DELETE ALL"):
        typed.fill(text)
        expect(delete).to_be_disabled()
        typed.press("Enter")
    dana.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(dana.button("Delete all")).to_be_focused()
    assert site.sql("SELECT FROM background_jobs WHERE business_id = :b", b=business_id) == []


def test_pause_and_resume_answer_at_once_and_every_receipt_goes_once(site, person) -> None:
    business_id, token = site.business(receipts=80)
    dana = person(site.address, token)
    with site.held_up(business_id):
        dana.delete_all()
        wait_until(lambda: dana.percent() > 5, 20, "the first batches")
        dana.button("Pause").click()
    expect(dana.page.get_by_text("Paused", exact=True)).to_be_visible()
    left = site.left(business_id)
    assert 0 < left < 80
    dana.button("Resume").click()
    expect(dana.page.get_by_text("80 receipts were deleted.").first).to_be_visible()
    assert site.left(business_id) == 0


def test_a_request_is_seen_before_the_batch_is_over(site, person) -> None:
    business_id, token = site.business(receipts=200)
    dana = person(site.address, token)
    with site.held_up(business_id):
        dana.delete_all()
        expect(dana.page.get_by_text("Running", exact=True)).to_be_visible()
        dana.button("Cancel job").click()
        expect(dana.page.get_by_text("Stopping after this batch.")).to_be_visible()
    expect(dana.page.get_by_text(re.compile(r"^Cancelled\. [0-9]+ receipts? w")).first).to_be_visible()
    expect(dana.page.get_by_text("Cancelled", exact=True)).to_be_visible()
    assert site.left(business_id) > 0


def test_a_reload_in_the_middle_asks_the_server_and_the_bar_goes_on(site, person) -> None:
    business_id, token = site.business(receipts=50)
    dana = person(site.address, token)
    with site.held_up(business_id):
        dana.delete_all()
        wait_until(lambda: dana.percent() > 5, 20, "the first batches")
        before = dana.percent()
        dana.page.evaluate("localStorage.clear()")
        dana.page.reload()
        expect(dana.progress).to_be_visible()
        assert before <= dana.percent() < 100
    expect(dana.page.get_by_text("50 receipts were deleted.").first).to_be_visible()


def test_two_businesses_and_two_browsers_of_one_see_each_their_own_and_the_same(site, person) -> None:
    dana_id, dana_token = site.business(receipts=40, name="Dana & Sons")
    noam_id, noam_token = site.business(receipts=3, name="Noam Ltd")
    dana, dana_at_home, noam = (person(site.address, token) for token in (dana_token, dana_token, noam_token))
    with site.held_up(dana_id):
        dana.delete_all()
        noam.page.reload()
        expect(noam.page.get_by_text("3 receipts")).to_be_visible()
        expect(noam.page.get_by_role("progressbar")).to_have_count(0)
        dana_at_home.page.reload()
        expect(dana_at_home.progress).to_be_visible()
    for one in (dana, dana_at_home):
        expect(one.page.get_by_text("40 receipts were deleted.").first).to_be_visible()
        expect(one.page.get_by_text("40 of 40")).to_be_visible()
    assert (site.left(dana_id), site.left(noam_id)) == (0, 3)


def test_by_keyboard_alone_from_the_token_to_the_last_receipt(site, person) -> None:
    business_id, token = site.business(receipts=20)
    dana = person(site.address)
    keyboard, page = dana.page.keyboard, dana.page
    page.goto("/")

    def focused() -> str:
        return str(page.evaluate("document.activeElement.textContent.trim() || document.activeElement.name"))

    def tab_to(wanted: str) -> None:
        for _ in range(30):
            if focused() == wanted:
                return
            keyboard.press("Tab")
        raise AssertionError(f"{wanted!r} was not reached; found {focused()!r}")

    expect(page.get_by_label("Access token")).to_be_visible()
    tab_to("token")
    keyboard.insert_text(token)
    keyboard.press("Enter")
    expect(dana.heading("Receipts")).to_be_focused()
    tab_to("Delete all")
    keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    tab_to("Continue")
    keyboard.press("Enter")
    keyboard.type("DELETE")
    keyboard.press("Enter")
    expect(page.get_by_text("20 receipts were deleted.").first).to_be_visible()
    assert site.left(business_id) == 0


def test_a_screen_reader_is_told_tenths_and_changes_and_not_each_look(site, person) -> None:
    _, token = site.business(receipts=150)
    dana = person(site.address, token)
    dana.page.evaluate(
        """() => {
            window.told = [];
            const region = document.getElementById("live");
            new MutationObserver(() => window.told.push(region.textContent))
                .observe(region, { childList: true, characterData: true, subtree: true });
        }"""
    )
    dana.delete_all()
    expect(dana.page.get_by_text("150 receipts were deleted.").first).to_be_visible()
    told = dana.page.evaluate("window.told")
    assert "150 receipts were deleted." in told
    percents = [int(found[1]) for text in told if (found := re.search(r"([0-9]+) percent", text))]
    assert percents == sorted(set(percents))
    assert 0 < len(percents) <= 10
    assert all(percent % 10 == 0 for percent in percents)
    assert len(told) <= 14


def test_in_hebrew_from_right_to_left(site, person) -> None:
    business_id, token = site.business(receipts=30)
    dana = person(site.address)
    dana.page.goto("/")
    dana.page.get_by_role("button", name="עברית").click()
    expect(dana.page.locator("html[lang=he][dir=rtl]")).to_be_attached()
    dana.page.locator("input[type=password]").fill(token)
    dana.page.keyboard.press("Enter")
    dana.button("מחק הכל").click()
    dialog = dana.page.get_by_role("dialog")
    dialog.get_by_role("button").last.click()
    dialog.get_by_role("textbox").fill("DELETE")
    dialog.get_by_role("button", name="מחק הכל").click()
    expect(dana.progress).to_be_visible()
    bar, page = dana.progress.bounding_box(), dana.page.viewport_size
    assert bar["x"] + bar["width"] > page["width"] * 0.8  # the bar begins at the right, and its number is at the left
    wait_until(lambda: site.left(business_id) == 0, 30, "the receipts to go")
    expect(dana.page.get_by_text("30 קבלות נמחקו").first).to_be_visible()


def ask_in_vain(dana, calls: list[str]) -> None:
    """Opens the dialog and asks; the network loses every try."""

    def lose(route) -> None:
        calls.append(route.request.headers["idempotency-key"])
        route.abort()

    dana.page.route("**/api/receipts/delete_all", lose)
    dana.button("Delete all").click()
    dialog = dana.page.get_by_role("dialog")
    dialog.get_by_role("button", name="Continue").click()
    dialog.get_by_label("Type DELETE").fill("DELETE")
    dialog.get_by_role("button", name="Delete all").click()
    wait_until(lambda: calls or dana.page.wait_for_timeout(20), 10, "the first try")


@pytest.mark.parametrize("how", ["Keep them", "Escape"])
def test_who_keeps_them_after_all_is_not_asked_for_again(site, person, how) -> None:
    business_id, token = site.business(receipts=5)
    dana = person(site.address, token)
    dana.may_say = "net::ERR_FAILED"
    calls: list[str] = []
    ask_in_vain(dana, calls)
    dana.button("Keep them").click() if how == "Keep them" else dana.page.keyboard.press("Escape")
    expect(dana.page.get_by_role("main").get_by_text("deleting may have begun")).to_be_visible()
    before = len(calls)
    dana.page.unroute("**/api/receipts/delete_all")
    dana.page.wait_for_timeout(4000)  # longer than all the tries would have taken
    assert len(calls) == before
    assert site.sql("SELECT FROM background_jobs WHERE business_id = :b", b=business_id) == []


def test_a_delete_that_began_before_the_dialog_was_closed_is_shown(site, person) -> None:
    business_id, token = site.business(receipts=40)
    dana = person(site.address, token)
    answers: list[Any] = []

    def hold(route) -> None:
        answers.append((route, route.fetch()))  # the server has it; the answer is on its way

    dana.page.route("**/api/receipts/delete_all", hold)
    with site.held_up(business_id):
        dana.button("Delete all").click()
        dialog = dana.page.get_by_role("dialog")
        dialog.get_by_role("button", name="Continue").click()
        dialog.get_by_label("Type DELETE").fill("DELETE")
        dialog.get_by_role("button", name="Delete all").click()
        wait_until(lambda: answers or dana.page.wait_for_timeout(20), 10, "the answer")
        dana.page.keyboard.press("Escape")
        expect(dana.page.get_by_role("main").get_by_text("deleting may have begun")).to_be_visible()
        ((route, answer),) = answers
        route.fulfill(response=answer)
        dana.button("Cancel job").click()
    expect(dana.page.get_by_text("Cancelled", exact=True)).to_be_visible()


def test_a_dialog_ends_with_its_view(site, person) -> None:
    dana = person(site.address, site.business(receipts=2)[1])
    dana.button("Delete all").click()
    expect(dana.page.get_by_role("dialog")).to_be_visible()
    dana.go("jobs", "Jobs")
    expect(dana.page.get_by_role("dialog")).to_have_count(0)
