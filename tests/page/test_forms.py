"""The form of a kind that the page does not know, made from the schema of its params; and sentences with numbers."""

import json

import pytest
from playwright.sync_api import expect

from tests.page.person import Person

pytestmark = pytest.mark.page

SCHEMA = {
    "type": "object",
    "$defs": {"Shelf": {"enum": ["upper", "lower"], "type": "string"}},
    "properties": {
        "sku": {"type": "string", "title": "SKU", "pattern": "[A-Z]{3}-[0-9]+", "description": "As on the label"},
        "boxes": {"type": "integer", "title": "Boxes", "minimum": 2, "exclusiveMaximum": 10, "default": 4},
        "shelf": {"$ref": "#/$defs/Shelf", "title": "Shelf"},
        "spare": {"anyOf": [{"$ref": "#/$defs/Shelf"}, {"type": "null"}], "title": "Spare", "default": None},
        "counted": {"type": "string", "format": "date", "title": "Counted", "default": "2025-03-04"},
        "until": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}], "title": "Until", "default": None},
        "labels": {"type": "array", "items": {"type": "string"}, "title": "Labels", "default": []},
    },
    "required": ["sku", "shelf"],
}


def take_stock(site, person) -> tuple[Person, list[dict]]:
    """Somebody at the form of a kind that only this test has, and what the page sends."""
    dana = person(site.address, site.business()[1])
    sent: list[dict] = []

    def kinds(route) -> None:
        body = route.fetch().json()
        body["kinds"].append(
            {
                **body["kinds"][0],
                "job_type": "take_stock",
                "confirm": "COUNT",
                "may_start": True,
                "params_schema": SCHEMA,
            }
        )
        route.fulfill(json=body)

    def refuse(route) -> None:
        sent.append(json.loads(route.request.post_data))
        fields = {"sku": "Found sku = 'x<b>': no such label", "boxes": "Found boxes = 4: too few"}
        body = {"success": False, "code": "invalid_input", "error": fields["sku"], "fields": fields}
        route.fulfill(status=400, json=body)

    dana.page.route("**/api/kinds", kinds)
    dana.page.route("**/api/jobs", lambda route: refuse(route) if route.request.method == "POST" else route.continue_())
    dana.page.reload()
    dana.may_say = "status of 400"
    dana.go("start/take_stock", "Take stock")
    return dana, sent


def test_the_form_asks_for_what_the_schema_asks_for(site, person) -> None:
    dana, sent = take_stock(site, person)
    form = dana.page.get_by_role("form", name="Take stock")
    wrong = "element => [...element.form.elements].filter(one => one.name && !one.validity.valid).map(one => one.name)"
    sku, boxes = form.get_by_label("SKU"), form.get_by_label("Boxes")
    expect(sku).to_have_accessible_description("As on the label")
    assert (boxes.input_value(), form.get_by_label("Counted").input_value()) == ("4", "2025-03-04")
    assert form.get_by_label("Spare").input_value() == ""
    assert form.get_by_label("Shelf").locator("option").all_inner_texts() == ["Not set", "upper", "lower"]
    assert sku.evaluate(wrong) == ["sku", "shelf", "confirm"]
    sku.fill("ab-1")
    boxes.fill("10")
    assert sku.evaluate(wrong) == ["sku", "boxes", "shelf", "confirm"]
    sku.fill("no. ABC-12 (old)")  # a schema's pattern may match anywhere
    boxes.fill("1")
    assert sku.evaluate(wrong) == ["boxes", "shelf", "confirm"]
    boxes.fill("9")
    form.get_by_label("Shelf").select_option("lower")
    form.get_by_label("Until").fill("2025-05-06")
    form.get_by_label("Type COUNT").fill("COUNT")
    form.get_by_label("Labels").fill("[1,")
    dana.button("Start").click()
    expect(form.get_by_label("Labels")).to_be_focused()
    assert sent == []
    form.get_by_label("Labels").fill('["a"]')
    dana.button("Start").click()
    expect(form.get_by_label("SKU")).to_have_attribute("aria-invalid", "true")
    params = {"sku": "no. ABC-12 (old)", "boxes": 9, "shelf": "lower", "counted": "2025-03-04", "until": "2025-05-06"}
    assert sent == [{"job_type": "take_stock", "params": {**params, "labels": ["a"]}, "confirm": "COUNT"}]


def test_what_the_server_refuses_is_said_at_the_fields(site, person) -> None:
    dana, _ = take_stock(site, person)
    form = dana.page.get_by_role("form", name="Take stock")
    form.get_by_label("SKU").fill("ABC-1")
    form.get_by_label("Shelf").select_option("upper")
    form.get_by_label("Type COUNT").fill("COUNT")
    for _ in range(2):  # said once, however often it is tried
        dana.button("Start").click()
        expect(form.get_by_label("SKU")).to_be_focused()
        expect(form.get_by_label("SKU")).to_have_accessible_description(
            "As on the label Found sku = 'x<b>': no such label"
        )
        expect(form.get_by_label("Boxes")).to_have_accessible_description("Found boxes = 4: too few")
        expect(dana.status.first).to_contain_text("Something in it is not right.")
        expect(form.locator("[aria-invalid]")).to_have_count(2)


@pytest.mark.parametrize(
    ("language", "one", "two"), [("en", "1 item was", "2 items were"), ("he", "פריט אחד נדחה", "שני פריטים נדחו")]
)
def test_a_number_and_its_noun_agree(language, one, two, site, person) -> None:
    business_id, token = site.business()
    dana = person(site.address, token)
    dana.page.goto(f"/?lang={language}")
    for failed, words in ((1, one), (2, two)):
        job_id = site.make.job(business_id, "completed", processed=failed, failed_count=failed, total=failed)
        dana.go(f"jobs/{job_id}")
        expect(dana.page.get_by_text(words).first).to_be_visible()
