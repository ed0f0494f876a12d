"""The kind that writes receipts into a file, run by the real loop, into a real bucket."""

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from actors import export_receipts as module
from actors.export_receipts import export_receipts
from actors.runtime.jobs.start import ParamsError
from actors.runtime.jobs.testing import go_on, run_kind
from actors.runtime.outbox import purge_all_due


@pytest.fixture
def export(engine, settings, bucket):
    """export(business_id, format="jsonl"): the job's row, with its file's text."""

    def run(business_id: int, **params) -> SimpleNamespace:
        job = run_kind(export_receipts, engine, settings, business_id, params)
        with engine.begin() as connection:
            found = module.result(connection, job)
        text = None
        if found is not None:
            body = bucket._client.get_object(Bucket=bucket.name, Key=found.object_key)["Body"].read()
            text = body.decode("utf-8-sig")
        return SimpleNamespace(**job, file=found, text=text)

    return run


@pytest.fixture
def small_parts(monkeypatch) -> None:
    """Of some kB, so that a few thousand receipts fill several; embedded stores take parts of any size."""
    monkeypatch.setattr(module, "PART_BYTES", 20_000)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_receipts_of_the_business_and_no_others_are_in_the_file(make, export) -> None:
    mine, other = make.business(), make.business()
    ids = make.receipts(mine, 25)
    make.receipts(other, 25)
    job = export(mine)
    assert (job.status, job.total, job.processed, job.succeeded) == ("completed", 25, 25, 25)
    assert [int(row["id"]) for row in rows(job.text)] == ids
    assert rows(job.text)[0]["vendor"] == "Vendor 1"
    assert rows(job.text)[0]["amount"] == "1.00"
    assert job.file.filename == f"receipts-{job.id}.csv"


def test_json_lines_have_amounts_exactly_as_they_are(make, export, sql) -> None:
    business_id = make.business()
    make.receipts(business_id, 2)
    sql("UPDATE receipts SET amount = 123456789.10, vendor = 'קפה'")
    found = [json.loads(line) for line in export(business_id, format="jsonl").text.splitlines()]
    assert [(one["amount"], one["vendor"]) for one in found] == [("123456789.10", "קפה")] * 2


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_file_of_several_parts_has_each_receipt_once_and_one_head(kind, make, export, small_parts) -> None:
    business_id = make.business()
    ids = make.receipts(business_id, 3500)
    job = export(business_id, format=kind)
    assert len(job.cursor["parts"]) > 3
    lines = rows(job.text) if kind == "csv" else [json.loads(line) for line in job.text.splitlines()]
    assert [int(line["id"]) for line in lines] == ids


def test_all_parts_but_the_last_are_as_large_as_s3_demands(make, engine, settings, sql, monkeypatch) -> None:
    upload, sizes = module.Multipart.upload, []

    def measured(self, number, body):
        sizes.append(len(body))
        return upload(self, number, body)

    monkeypatch.setattr(module.Multipart, "upload", measured)
    business_id = make.business()
    make.receipts(business_id, 3000)
    sql("UPDATE receipts SET vendor = repeat('x', 2000)")
    in_small_steps = settings.model_copy(update={"of_kinds": {"EXPORT_RECEIPTS_BATCH_SIZE": "50"}})
    assert run_kind(export_receipts, engine, in_small_steps, business_id, {})["status"] == "completed"
    assert len(sizes) == 2
    assert sizes[0] >= 5 * 2**20


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_business_without_receipts_gets_an_empty_file(kind, make, export) -> None:
    job = export(make.business(), format=kind)
    assert (job.status, job.total) == ("completed", 0)
    assert job.text == ("" if kind == "jsonl" else ",".join(module.COLUMNS) + "\r\n")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_text_that_a_spreadsheet_would_compute_is_escaped(start, make, export, sql) -> None:
    business_id = make.business()
    make.receipts(business_id, 1)
    sql("UPDATE receipts SET vendor = :vendor, amount = -5", vendor=f"{start}1+1")
    (row,) = rows(export(business_id).text)
    assert row["vendor"] == f"'{start}1+1"
    assert row["amount"] == "-5.00"  # a number stays one


HOSTILE = [
    "x;=cmd|' /C calc'!A0;y",
    "x; =1+1",
    'x;"=1+1"',
    'x;"" @SUM(A1)',
    "x\t+1",
    "x\n-1",
    "x\r\n\r\n=1",
    "\n=1+1",
    " =1+1",
    "＝1+1",
    "x;＠1;＋1;－1",
    ";;=1",
    "\u200b=1+1",
    "\u3164=1+1",
    "\u2800\ufe0f=1+1",
    "\U000e0020=1+1",
    "x;\ufeff\u202e=1+1",
    "x\u2028=1+1",
    "x\x0b=1+1",
    "\u200f\u2066@SUM(A1)",
]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_no_text_is_a_formula_whatever_a_spreadsheet_takes_for_the_separator(delimiter, make, export, sql) -> None:
    business_id = make.business()
    for receipt_id, vendor in zip(make.receipts(business_id, len(HOSTILE)), HOSTILE, strict=True):
        sql("UPDATE receipts SET vendor = :vendor WHERE id = :id", vendor=vendor, id=receipt_id)
    # As a spreadsheet sees it, which takes each line break outside of quotes for the end of a row.
    read = csv.reader(io.StringIO(export(business_id).text, newline=""), delimiter=delimiter)
    cells = [cell for row in read for cell in row]
    assert len(cells) > len(HOSTILE)
    assert [
        cell for cell in cells if re.match(r"""[\s"\u200b-\u200f\u202a-\u202e\u2066\ufeff]*[=+\-@＝＋－＠]""", cell)
    ] == []


@pytest.mark.parametrize("vendor", ["Smith; Sons", "a-b; c+d", "dana@example.com;x", "1 + 1 = 2", "Café\nUpper street"])
def test_other_texts_are_written_as_they_are(vendor, make, export, sql) -> None:
    business_id = make.business()
    make.receipts(business_id, 1)
    sql("UPDATE receipts SET vendor = :vendor", vendor=vendor)
    (row,) = rows(export(business_id).text)
    assert row["vendor"] == vendor


@pytest.mark.parametrize(
    ("period", "days"),
    [
        ({}, [1, 2, 3, 4]),
        ({"from_date": "2026-03-02"}, [2, 3, 4]),
        ({"to_date": "2026-03-03"}, [1, 2, 3]),
        ({"from_date": "2026-03-02", "to_date": "2026-03-02"}, [2]),
    ],
)
def test_a_period_is_of_whole_days_both_included(period, days, make, export, sql) -> None:
    business_id = make.business()
    for day, receipt_id in enumerate(make.receipts(business_id, 4), start=1):
        at = datetime(2026, 3, day, 23, 59, 59, 999999, tzinfo=UTC)
        sql("UPDATE receipts SET received_at = :at WHERE id = :id", at=at, id=receipt_id)
    job = export(business_id, **period)
    assert [int(row["received_at"][8:10]) for row in rows(job.text)] == days
    assert job.total == len(days)


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"format": "xls"}, "format"),
        ({"from_date": "2026-02-30"}, "from_date"),
        ({"from_date": "2026-02-03", "to_date": "2026-02-02"}, "expected a day up to to_date"),
        ({"max_id": 5}, "Unknown field 'max_id'"),
        ({"colour": "red"}, "Unknown field 'colour'"),
    ],
)
def test_params_that_make_no_sense_are_refused_with_a_sentence(params, sentence, make, engine, settings) -> None:
    with pytest.raises(ParamsError, match=sentence):
        run_kind(export_receipts, engine, settings, make.business(), params)


def test_deleted_receipts_and_later_ones_are_not_in_it(make, export, sql, monkeypatch) -> None:
    business_id = make.business()
    ids = make.receipts(business_id, 10)
    sql("UPDATE receipts SET is_deleted = true, deleted_at = now() WHERE id = :id", id=ids[3])
    read = module._read_part

    def one_arrives(*arguments, **named):
        make.receipts(business_id, 1)
        return read(*arguments, **named)

    monkeypatch.setattr(module, "_read_part", one_arrives)
    assert [int(row["id"]) for row in rows(export(business_id).text)] == ids[:3] + ids[4:]


@pytest.mark.parametrize("call", ["upload", "complete"])
def test_an_export_that_is_cut_off_anywhere_goes_on_and_has_each_receipt_once(
    call, make, engine, settings, bucket, sql, small_parts, monkeypatch
) -> None:
    """As by a kill: what was sent to the store arrived, but nobody wrote that down."""
    business_id = make.business()
    ids = make.receipts(business_id, 3500)
    real, calls = getattr(module.Multipart, call), []

    def arrives_but_dies(self, *arguments):
        answer = real(self, *arguments)
        calls.append(arguments)
        if len(calls) == (3 if call == "upload" else 1):
            raise SystemError("cut off")
        return answer

    monkeypatch.setattr(module.Multipart, call, arrives_but_dies)
    job = run_kind(export_receipts, engine, settings, business_id, {})
    assert job["status"] == "failed"
    sql("SELECT resume_job(:id, 'dana')", id=job["id"])
    job = go_on(export_receipts, engine, settings, job["id"])
    assert (job["status"], job["processed"]) == ("completed", 3500)
    body = bucket._client.get_object(Bucket=bucket.name, Key=job["cursor"]["key"])["Body"].read()
    assert [int(row["id"]) for row in rows(body.decode("utf-8-sig"))] == ids


def test_a_file_is_gone_after_a_week(make, export, engine, bucket, sql) -> None:
    business_id = make.business()
    make.receipts(business_id, 5)
    job = export(business_id)
    (file,) = sql("SELECT receipt_id, purge_after - now() AS kept FROM attachments")
    assert file["receipt_id"] is None
    assert timedelta(days=6, hours=23) < file["kept"] <= timedelta(days=7)
    purge_all_due(engine, bucket)
    assert bucket.keys() == [job.file.object_key]
    sql("UPDATE attachments SET purge_after = now()")
    with engine.begin() as connection:
        assert module.result(connection, vars(job)) is None
    purge_all_due(engine, bucket)
    assert bucket.keys() == []


def test_a_business_keeps_its_last_exports_only(make, export, engine, sql, monkeypatch) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 2)
    business_id, other = make.business(), make.business()
    kept_by_another = export(other)
    jobs = [export(business_id) for _ in range(4)]
    with engine.begin() as connection:
        there = [module.result(connection, vars(job)) is not None for job in (kept_by_another, *jobs)]
    assert there == [True, False, False, True, True]


def test_an_export_that_was_paused_for_longer_than_that_says_so(make, engine, settings, sql, monkeypatch) -> None:
    business_id = make.business()
    make.receipts(business_id, 5)

    def crash(*_arguments, **_named):
        raise SystemError("cut off")

    monkeypatch.setattr(module, "_read_part", crash)
    job = run_kind(export_receipts, engine, settings, business_id, {})
    monkeypatch.undo()
    sql("UPDATE attachments SET purge_after = now()")
    sql("SELECT resume_job(:id, 'dana')", id=job["id"])
    job = go_on(export_receipts, engine, settings, job["id"])
    assert (job["status"], job["error_code"]) == ("failed", "expired")
    assert "more than 7 days ago" in job["last_error"]
