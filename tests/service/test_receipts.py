"""The list of receipts."""

from urllib.parse import quote, unquote
from urllib.request import urlopen

import pytest
from sqlalchemy import text

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


def test_receipts_and_their_files_are_counted_within_the_days(api, dated, make, sql, tmp_path) -> None:
    business_id = dated("2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z", "2025-01-03T00:00:00Z")
    ids = [row["id"] for row in sql("SELECT id FROM receipts ORDER BY id")]
    make.attachments(ids[:2], tmp_path)
    make.receipts(make.business(), 5)
    caller = api(business_id, "member")
    counted = caller.get(f"{LIST}/count").json
    assert (counted["receipts"], counted["attachments"]) == (3, 2)
    counted = caller.get(f"{LIST}/count?from_date=2025-01-02&toDate=2025-01-03").json
    assert (counted["receipts"], counted["attachments"]) == (2, 1)
    sql("UPDATE receipts SET is_deleted = true, deleted_at = now() WHERE id = :id", id=ids[0])
    assert caller.get(f"{LIST}/count").json["attachments"] == 1
    assert caller.get(f"{LIST}/count?from_date=01.02.2025").status_code == 400


def test_a_count_that_takes_too_long_is_not_known(api, make, engine) -> None:
    caller = api(make.business())
    with engine.connect() as other:
        other.execute(text("LOCK TABLE attachments IN ACCESS EXCLUSIVE MODE"))
        answer = caller.get(f"{LIST}/count")
        other.rollback()
    assert (answer.status_code, answer.json["receipts"], answer.json["attachments"]) == (200, None, None)


def test_a_receipts_file_is_read_by_a_link_and_only_its_own_business_gets_one(api, make, sql, tmp_path) -> None:
    business_id = make.business()
    with_file, without = make.receipts(business_id, 2)
    make.attachments([with_file], tmp_path)
    caller = api(business_id, "member")
    assert [row["has_file"] for row in caller.get(LIST).json["receipts"]] == [False, True]
    answer = caller.get(f"{LIST}/{with_file}/file")
    assert (answer.status_code, answer.json["content_type"], answer.json["expires_in"]) == (200, "application/pdf", 300)
    with urlopen(answer.json["url"]) as file:  # noqa: S310 - of the test's own store
        assert file.read() == b"%PDF-1.1"
    assert caller.get(f"{LIST}/{without}/file").json["code"] == "no_file"
    for stranger, receipt in ((api(make.business()), with_file), (caller, 999_999)):
        assert (stranger.get(f"{LIST}/{receipt}/file").json["code"]) == "not_found"
    sql("UPDATE attachments SET purge_requested_at = now(), purge_after = now()")
    assert caller.get(f"{LIST}/{with_file}/file").json["code"] == "no_file"


def test_a_file_that_a_browser_might_run_is_saved_and_not_shown(api, make, sql, tmp_path) -> None:
    business_id = make.business()
    (receipt,) = make.receipts(business_id, 1)
    make.attachments([receipt], tmp_path)
    sql("UPDATE attachments SET content_type = 'message/rfc822'")
    assert "attachment" in unquote(api(business_id).get(f"{LIST}/{receipt}/file").json["url"])
