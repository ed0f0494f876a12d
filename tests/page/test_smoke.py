"""One way through the page, in `make test`; all the others are in `make page`."""

from playwright.sync_api import expect


def test_somebody_signs_in_deletes_all_and_sees_it_end(site, person) -> None:
    business_id, token = site.business(receipts=25)
    dana = person(site.address, token)
    expect(dana.page.get_by_text("25 receipts")).to_be_visible()
    dana.delete_all()
    expect(dana.page.get_by_text("25 receipts were deleted.").first).to_be_visible()
    expect(dana.page.get_by_text("No receipts yet")).to_be_visible()
    assert site.left(business_id) == 0
