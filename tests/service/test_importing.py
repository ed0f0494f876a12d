"""Loading receipts from files, again and again, through crashes and deletions."""

import json
from threading import Event

import pytest

from actors.runtime.errors import StorageError
from actors.runtime.purge import purge_all_due
from actors.runtime.storage import Bucket
from service.importing import import_file

GOOD = {"id": "a1", "company": "INDAH GIFT", "date": "19/10/2018", "total": "RM 60.30"}


@pytest.fixture
def business_id(make) -> int:
    return make.business()


@pytest.fixture
def load(engine, bucket, business_id, tmp_path):
    """load(lines): imports them from a file; a str is taken as it is, a dict as JSON."""

    def run(lines, name: str = "receipts.jsonl", bucket=bucket):
        file = tmp_path / name
        if not isinstance(lines, bytes):
            lines = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines).encode()
        file.write_bytes(lines)
        return import_file(file, engine, bucket, business_id, "USD")

    return run


def test_lines_become_receipts(load, sql, business_id) -> None:
    outcome = load([GOOD, {"vendor": "Cafe", "amount": 4.2, "date": "2018-03-04", "currency": "EUR"}, ""])
    assert (outcome.made, outcome.known, outcome.unread) == (2, 0, [])
    rows = sql("SELECT business_id, vendor, amount::text, currency, received_at::date::text AS day FROM receipts")
    assert rows == [
        {"business_id": business_id, "vendor": "INDAH GIFT", "amount": "60.30", "currency": "MYR", "day": "2018-10-19"},
        {"business_id": business_id, "vendor": "Cafe", "amount": "4.20", "currency": "EUR", "day": "2018-03-04"},
    ]


def test_csv_does_as_well_with_a_byte_order_mark_and_quotes(load, sql) -> None:
    text = '\ufeffID,Vendor,Total,Date\n1,"Smith, Sons",5.00,2018-01-02\n2,Cafe,,2018-01-02\n3,Bar,6,2018-01-03,extra\n'
    outcome = load(text.encode(), "receipts.csv")
    assert [row["vendor"] for row in sql("SELECT vendor FROM receipts")] == ["Smith, Sons"]
    assert outcome.unread == [
        "line 3: amount or total is missing",
        "line 4: found more fields than the header names",
    ]


def test_a_line_that_cannot_be_read_is_named_and_the_rest_goes_on(load, sql) -> None:
    outcome = load(
        b'{"id": 1, "vendor": "X", "date": "2018-01-01"}\n'
        b"{not json}\n"
        b"[1, 2]\n"
        b'{"id": 4, "vendor": "\xff", "amount": 1, "date": "2018-01-01"}\n'
        b'{"id": 5, "vendor": "X", "amount": 1, "date": "2025-02-30"}\n'
        b'{"id": 6, "vendor": "X", "amount": 1, "date": "2018-01-01", "image": "no-such.jpg"}\n'
        b'{"id": 7, "vendor": "X", "amount": 1, "date": "2018-01-01", "image": "receipts.jsonl"}\n'
        b'{"id": 8, "vendor": "Good", "amount": 1, "date": "2018-01-01"}'
    )
    assert [row["vendor"] for row in sql("SELECT vendor FROM receipts")] == ["Good"]
    assert [line.partition(":")[0] for line in outcome.unread] == [f"line {n}" for n in range(1, 8)]
    assert "amount or total is missing" in outcome.unread[0]
    assert "expected a JSON object" in outcome.unread[1]
    assert "is not there" in outcome.unread[5]
    assert "expected an image or a PDF" in outcome.unread[6]


def test_run_again_it_changes_nothing_with_or_without_an_id(load, sql) -> None:
    lines = [GOOD, {**GOOD, "id": None, "total": "1"}, {**GOOD, "id": None, "total": "2"}]
    assert load(lines).made == 3
    before = sql("SELECT * FROM receipts")
    again = load(lines)
    assert (again.made, again.known) == (0, 3)
    assert sql("SELECT * FROM receipts") == before


def test_the_same_line_for_another_business_is_another_receipt(load, engine, bucket, make, tmp_path, sql) -> None:
    load([GOOD])
    assert import_file(tmp_path / "receipts.jsonl", engine, bucket, make.business(), "USD").made == 1


def test_a_deleted_receipt_stays_deleted(load, sql) -> None:
    load([GOOD])
    sql("UPDATE receipts SET is_deleted = true, deleted_at = now()")
    assert load([GOOD]).known == 1
    assert sql("SELECT is_deleted FROM receipts") == [{"is_deleted": True}]


def test_files_go_into_the_bucket_under_a_key_that_holds_the_attachments_id(load, sql, bucket, tmp_path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "1.JPG").write_bytes(b"12345")
    outcome = load([{**GOOD, "image": "scans/1.JPG"}])
    assert outcome.uploaded == 1
    (row,) = sql("SELECT id, object_key, content_type, size FROM attachments")
    assert bucket.keys() == [row["object_key"]]
    assert row["object_key"].endswith(f"/{row['id']}.jpg")
    assert (row["content_type"], row["size"]) == ("image/jpeg", 5)


def test_an_upload_that_failed_is_made_up_for_by_running_again(load, sql, bucket, settings, tmp_path) -> None:
    (tmp_path / "1.pdf").write_bytes(b"12345")
    line = {**GOOD, "image": "1.pdf"}
    away = Bucket(settings.model_copy(update={"S3_ENDPOINT_URL": "http://127.0.0.1:1"}))
    with pytest.raises(StorageError):
        load([line], bucket=away)
    assert sql("SELECT size FROM attachments") == [{"size": None}]
    assert load([line]).uploaded == 1
    assert load([line]).uploaded == 0
    assert len(bucket.keys()) == len(sql("SELECT FROM receipts")) == 1


def test_killed_between_the_upload_and_its_mark_the_object_is_still_known_and_can_be_purged(
    load, sql, bucket, engine, tmp_path
) -> None:
    (tmp_path / "1.pdf").write_bytes(b"12345")

    class Killed(BaseException):
        pass

    class Dying(Bucket):
        def put(self, *arguments):
            super().put(*arguments)
            raise Killed

    with pytest.raises(Killed):
        load([{**GOOD, "image": "1.pdf"}], bucket=Dying(bucket._settings))
    assert len(bucket.keys()) == 1
    sql("UPDATE attachments SET purge_requested_at = now(), purge_after = now()")
    purge_all_due(engine, bucket)
    assert bucket.keys() == []


@pytest.mark.scale
def test_a_file_that_takes_longer_to_go_up_than_a_session_may_idle_arrives(load, sql, bucket, tmp_path) -> None:
    (tmp_path / "1.pdf").write_bytes(b"12345")

    class Slow(Bucket):
        def put(self, *arguments):
            Event().wait(17)
            return super().put(*arguments)

    assert load([{**GOOD, "image": "1.pdf"}], bucket=Slow(bucket._settings)).uploaded == 1


def test_a_file_whose_receipt_was_deleted_meanwhile_is_not_uploaded(load, sql, bucket, settings, tmp_path) -> None:
    (tmp_path / "1.pdf").write_bytes(b"12345")
    away = Bucket(settings.model_copy(update={"S3_ENDPOINT_URL": "http://127.0.0.1:1"}))
    with pytest.raises(StorageError):
        load([{**GOOD, "image": "1.pdf"}], bucket=away)
    sql("UPDATE attachments SET purge_requested_at = now(), purge_after = now()")
    assert load([{**GOOD, "image": "1.pdf"}]).uploaded == 0
    assert bucket.keys() == []
