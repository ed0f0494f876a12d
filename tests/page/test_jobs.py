"""The list of jobs, one job's way, a form made from a schema, and what an operator sees."""

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.page


def test_a_filter_survives_reload_back_and_actions(site, person) -> None:
    business_id, token = site.business()
    site.make.job(business_id, "completed")
    paused = site.make.job(business_id, "paused")
    dana = person(site.address, token)
    dana.go("jobs", "Jobs")
    rows = dana.page.get_by_role("table", name="Jobs").get_by_role("row")
    expect(rows).to_have_count(3)
    dana.page.get_by_label("Status").select_option("paused")
    dana.button("Show").click()
    expect(rows).to_have_count(2)
    dana.page.reload()
    expect(rows).to_have_count(2)
    rows.get_by_role("link").click()
    dana.button("Cancel job").click()
    expect(dana.page.get_by_text("Cancelled", exact=True).first).to_be_visible()
    dana.page.get_by_role("link", name="All jobs").click()
    expect(dana.page.get_by_label("Status")).to_have_value("paused")
    expect(dana.page.get_by_text("No jobs like that")).to_be_visible()
    dana.page.get_by_label("Status").select_option("cancelled")
    dana.button("Show").click()
    expect(rows.get_by_role("link", name=f"#{paused}")).to_be_visible()


def test_a_kind_is_started_by_the_form_of_its_schema_and_its_file_is_offered(site, person) -> None:
    _, token = site.business(receipts=5)
    dana = person(site.address, token)
    dana.go("start/export_receipts")
    dana.page.get_by_label("Format").select_option("jsonl")
    dana.page.get_by_label("From").fill("2020-01-01")
    dana.button("Start").click()
    expect(dana.page.get_by_text("5 of 5")).to_be_visible()
    with dana.page.expect_popup() as opened:
        dana.button("Download file").click()
    assert opened.value is not None
    dana.strangers.clear()
    expect(dana.page.get_by_role("table", name="Timeline").get_by_role("row")).to_have_count(2)
    expect(dana.page.get_by_text("Nothing was left to do")).to_be_visible()


def test_what_a_start_may_not_say_is_refused_in_words(site, person) -> None:
    _, token = site.business()
    dana = person(site.address, token)
    dana.may_say = "status of 4"
    dana.go("start/restore_receipts")
    dana.page.get_by_label("Number of the delete job").fill("999999")
    dana.button("Start").click()
    expect(dana.page.get_by_text("It is not there").first).to_be_visible()


def test_an_operator_sees_all_businesses_the_stuck_first_and_the_workers(site, person) -> None:
    business_id, _ = site.business(name="Stuck & Sons")
    stuck = site.make.job(business_id, "queued", queue="recordings")  # where no worker listens
    boss = person(site.address, site.make.token(None, "operator"))
    expect(boss.heading("Jobs")).to_be_visible()
    attention = boss.page.get_by_role("region", name="Need attention")
    expect(attention.get_by_role("link", name=f"#{stuck}")).to_be_visible()
    boss.page.get_by_label("Business").fill(str(business_id))
    boss.button("Show").click()
    expect(boss.page.get_by_role("table", name="Jobs").get_by_role("row")).to_have_count(2)
    boss.may_say = "status of 503"  # is what the health of the jobs answers, as work waits that nobody takes
    boss.go("workers", "Workers")
    expect(boss.page.get_by_text("maintenance").first).to_be_visible()
    site.sql("SELECT cancel_job(:id, 'test')", id=stuck)


def test_an_operator_takes_a_job_from_its_worker(site, person) -> None:
    business_id, token = site.business(receipts=20)
    dana = person(site.address, token)
    boss = person(site.address, site.make.token(None, "operator"))
    with site.held_up(business_id):
        dana.delete_all()
        (row,) = site.sql("SELECT id FROM background_jobs WHERE business_id = :b", b=business_id)
        boss.go(f"jobs/{row['id']}")
        boss.button("Reset").click()
        boss.page.get_by_role("dialog").get_by_role("button", name="Reset").click()
        expect(boss.page.get_by_text("Failed", exact=True).first).to_be_visible()
        expect(dana.button("Resume")).to_be_visible()


def test_receipts_are_shown_by_pages_and_days(site, person) -> None:
    business_id, token = site.business(receipts=60)
    site.sql(
        "UPDATE receipts SET received_at = '2025-03-04T10:00Z' WHERE business_id = :b AND amount < 6", b=business_id
    )
    dana = person(site.address, token)
    rows = dana.page.get_by_role("table", name="Receipts").get_by_role("row")
    expect(rows).to_have_count(26)
    dana.page.get_by_role("link", name="Next page").click()
    expect(rows).to_have_count(26)
    dana.page.go_back()
    expect(rows).to_have_count(26)
    dana.page.get_by_label("From").fill("2025-03-04")
    dana.page.get_by_label("To").fill("2025-03-04")
    dana.button("Show").click()
    expect(dana.page.get_by_text(re.compile("^5 receipts$"))).to_be_visible()
    expect(rows).to_have_count(6)
    dana.page.reload()
    expect(rows).to_have_count(6)
