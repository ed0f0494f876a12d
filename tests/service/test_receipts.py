"""The list of receipts."""

from urllib.parse import quote

import pytest

LIST = "/api/receipts"


@pytest.fixture
def dated(make, sql):
    """A business with a receipt at each of these moments; returns its id."""

    def fill(*moments: str) -> int:
        business_id = make.business()
        for moment in moments:
            sql(
                """INSERT INTO receipts (business_id, vendor, amount, currency, received_at)
                   VALUES (:b, :m, 12.3, 'EUR', :m)""",
                b=business_id,
                m=moment,
            )
        return business_id

    return fill


def vendors(answer) -> list[str]:
    assert answer.status_code == 200
    return [receipt["vendor"] for receipt in answer.json["receipts"]]


def test_a_receipt_is_shown_with_an_exact_amount(api, dated) -> None:
    (receipt,) = api(dated("2025-03-04T05:06:07Z"), "member").get(LIST).json["receipts"]
    assert (receipt["amount"], receipt["currency"]) == ("12.30", "EUR")
    assert receipt["received_at"] == "2025-03-04T05:06:07+00:00"


def test_pages_go_newest_first_through_equal_times_and_skip_what_is_deleted(api, dated, sql, make) -> None:
    business_id = dated(*["2025-01-01T00:00:00Z"] * 5, "2025-01-02T00:00:00Z")
    make.receipts(make.business(), 3)
    sql("UPDATE receipts SET is_deleted = true, deleted_at = now() WHERE id = (SELECT min(id) FROM receipts)")
    caller, seen, query = api(business_id), [], "limit=2"
    while True:
        answer = caller.get(LIST, query_string=query).json
        seen += [(receipt["received_at"], receipt["id"]) for receipt in answer["receipts"]]
        if answer["next_after"] is None:
            break
        sql("UPDATE receipts SET is_deleted = true, deleted_at = now() WHERE id = :id", id=answer["next_after"])
        query = f"limit=2&after={answer['next_after']}"
    assert len(seen) == 5
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize(
    "query",
    [
        "from_date=2025-03-03&fromDate=2025-03-01",
        "to_date=2025-03-03&toDate=2025-03-01",
        "from_date=٢٠٢٥-٠٣-٠٣",
        "limit=1_0",
        "limit=+5",
        "limit=٥",
        "limit=5.0",
        "limit=1&limit=2",
        "after=1_0",
        "from_date=2025-03-03&from_date=2025-03-03",
    ],
)
def test_a_query_that_can_be_read_in_two_ways_is_a_400(query, api, make) -> None:
    answer = api(make.business()).get(LIST, query_string=quote(query, safe="=&+"))
    assert (answer.status_code, answer.json["code"]) == (400, "invalid_input")


@pytest.mark.parametrize(
    ("query", "days"),
    [
        ("from_date=2025-03-02", ["2025-03-03T00:00:00Z", "2025-03-02T23:59:59Z", "2025-03-02T00:00:00Z"]),
        ("to_date=2025-03-02", ["2025-03-02T23:59:59Z", "2025-03-02T00:00:00Z", "2025-03-01T23:59:59Z"]),
        ("fromDate=2025-03-02&toDate=2025-03-02", ["2025-03-02T23:59:59Z", "2025-03-02T00:00:00Z"]),
        ("from_date=2025-03-03&fromDate=2025-03-03", ["2025-03-03T00:00:00Z"]),
        ("from_date=2025-03-03&to_date=2025-03-01", []),
        ("from_date=0001-01-01&to_date=0001-01-01", []),
        ("from_date=9999-12-31&to_date=9999-12-31", []),
    ],
)
def test_days_are_utc_and_both_inclusive(query, days, api, dated) -> None:
    business_id = dated("2025-03-01T23:59:59Z", "2025-03-02T00:00:00Z", "2025-03-02T23:59:59Z", "2025-03-03T00:00:00Z")
    assert vendors(api(business_id).get(LIST, query_string=query)) == days


@pytest.mark.parametrize("name", ["from_date", "to_date", "fromDate", "toDate"])
@pytest.mark.parametrize("bad", ["2025-02-30", "30/01/2025", "2025-1-1", "yesterday", "", "2025-01-01T00:00:00"])
def test_a_date_that_is_none_is_a_400_in_the_words_that_front_ends_know(name, bad, api, make) -> None:
    answer = api(make.business()).get(LIST, params={name: bad})
    assert answer.status_code == 400
    assert answer.json["error"] == f"Invalid {name} format: '{bad}'. Use YYYY-MM-DD format"


def test_an_after_that_no_page_gave_is_a_400(api, make, dated) -> None:
    dated("2025-01-01T00:00:00Z")
    answer = api(make.business()).get(LIST, query_string="after=1")
    assert answer.status_code == 400
    assert "expected the next_after of a previous page" in answer.json["error"]
