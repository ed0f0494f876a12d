"""A mailbox from the page: connected, read, and each mail's verdict in words."""

import re
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Locator, expect

from tests.page.person import Person
from tests.system.test_mail import mail

pytestmark = pytest.mark.page

MOMENT = datetime(2025, 6, 15, 12, tzinfo=UTC)


def connect_form(dana: Person, host: str, user: str, password: str, port: int | None = None) -> Locator:
    """The dialog, filled in. `port`: of a server without encryption."""
    dana.go("mailbox", "Mailbox")
    dana.button("Connect a mailbox").click()
    dialog = dana.page.get_by_role("dialog")
    if port is not None:
        dialog.get_by_label("Encryption").select_option("none")
        dialog.get_by_label("Port").fill(str(port))
    for label, text in (("IMAP server", host), ("User name", user), ("Password", password)):
        dialog.get_by_label(label).fill(text)
    return dialog


def test_what_is_wrong_with_a_new_mailbox_is_said_at_the_fields(site, person) -> None:
    _, token = site.business()
    dana = person(site.address, token)
    dana.may_say = "status of 400"
    dialog = connect_form(dana, "imap.example.com", "dana@example.com", "not-sent-anywhere")
    dialog.get_by_text("More settings").click()
    dialog.get_by_label("Currency").fill("zzz")
    dialog.get_by_label("Time zone").fill("Asia/Atlantis")
    dialog.get_by_text("More settings").click()  # closed again: what is wrong opens it
    for _ in range(2):  # said once, however often it is tried
        dialog.get_by_role("button", name="Connect").click()
        expect(dialog.get_by_label("Currency")).to_be_focused()
        expect(dialog.get_by_label("Currency")).to_have_accessible_description(re.compile("Found currency = 'ZZZ'"))
        expect(dialog.get_by_label("Time zone")).to_have_accessible_description(re.compile("Found timezone = 'Asia/"))
        expect(dialog.locator("[aria-invalid]")).to_have_count(2)
        expect(dialog.get_by_role("paragraph").filter(has_text="Something in it is not right.")).to_be_visible()


def test_a_mailbox_is_connected_read_and_explained(site, person, mails) -> None:
    mails.fill([(mail(1), MOMENT), (mail(2), MOMENT), (mail(90), MOMENT)])
    business_id, token = site.business()
    dana = person(site.address, token)
    dialog = connect_form(dana, "127.0.0.1", mails.user, mails.password, port=mails.port)
    dialog.get_by_role("button", name="Connect").click()
    expect(dana.page.get_by_text("The mailbox is connected.").first).to_be_visible()

    form = dana.page.get_by_role("form", name=f"Read {mails.user}")
    form.get_by_label("Which mails").select_option("range")
    form.get_by_label("From").fill("2025-06-01")
    form.get_by_role("button", name="Start").click()
    expect(dana.page.get_by_text("2 new receipts were found").first).to_be_visible()
    table = dana.page.get_by_role("region", name="What became of each mail").get_by_role("table")
    expect(table.get_by_role("row")).to_have_count(4)
    expect(table.get_by_text("Nothing says that it is a receipt")).to_be_visible()

    dana.page.get_by_label("Taken for").select_option("not_receipt")
    dana.button("Show").click()
    expect(table.get_by_role("row")).to_have_count(2)
    dana.page.reload()
    expect(table.get_by_role("row")).to_have_count(2)

    dana.go("receipts", "Receipts")
    assert site.left(business_id) == 2
    with dana.page.expect_popup() as opened:
        dana.button("Open file of Night Owl Taxi").first.click()
    assert opened.value is not None
    dana.strangers.clear()  # the store, which the reader went to


def test_a_password_that_is_refused_is_said_in_the_dialog(site, person, mails) -> None:
    _, token = site.business()
    dana = person(site.address, token)
    dana.may_say = "status of 4|status of 502"
    dialog = connect_form(dana, "127.0.0.1", mails.user, "wrong", port=mails.port)
    dialog.get_by_role("button", name="Connect").click()
    expect(dialog.get_by_role("status")).to_contain_text("The mail server refuses this user name or password.")
