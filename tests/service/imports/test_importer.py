"""Loading receipts from files, again and again, through crashes and deletions."""

import json
import os
from pathlib import Path
from threading import Barrier, Event, Thread

import pytest

from actors.receipts.days import Order
from actors.runtime.base.errors import StorageError
from actors.runtime.base.storage import Bucket
from actors.runtime.outbox import purge_all_due
from service.imports.importer import Options, import_file
from service.imports.rows import UnreadableFileError
from service.imports.store import store
from tests.service.imports.conftest import JPEG, PDF, PNG

GOOD = {"id": "a1", "company": "INDAH GIFT", "date": "19/10/2018", "total": "RM 60.30"}
FIRST_RELEASE = Path(__file__).parent / "first_release"


def line(vendor: str = "Cafe", amount: object = 5, date: str = "2018-03-04", **more: object) -> dict[str, object]:
    return {"vendor": vendor, "amount": amount, "date": date, **more}


def test_lines_become_receipts(load, receipts) -> None:
    outcome = load([GOOD, line(amount=4.2, currency="EUR"), ""])
    assert (outcome.made, outcome.known, outcome.unread) == (2, 0, [])
    assert receipts() == ["INDAH GIFT 60.30 MYR 2018-10-19", "Cafe 4.20 EUR 2018-03-04"]


def test_csv_does_as_well_with_a_byte_order_mark_and_quotes(load, receipts) -> None:
    csv = '\ufeffID,Vendor,Total,Date\n1,"Smith, Sons",5.00,2018-01-02\n2,Cafe,,2018-01-02\n3,Bar,6,2018-01-03,extra\n'
    outcome = load(csv, "receipts.csv")
    assert receipts() == ["Smith, Sons 5.00 USD 2018-01-02"]
    assert outcome.unread == [
        "line 3: amount or total is missing",
        "line 4: found more fields than the header names",
    ]


def test_a_line_that_cannot_be_read_is_named_and_the_rest_goes_on(load, receipts) -> None:
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
    assert receipts() == ["Good 1.00 USD 2018-01-01"]
    assert [text.partition(":")[0] for text in outcome.unread] == [f"line {n}" for n in range(1, 8)]
    assert "amount or total is missing" in outcome.unread[0]
    assert "expected a JSON object" in outcome.unread[1]
    assert "does not exist" in outcome.unread[5]
    assert "expected an image or a PDF" in outcome.unread[6]


def test_run_again_it_changes_nothing_with_or_without_an_id(load, sql) -> None:
    lines = [GOOD, {**GOOD, "id": None, "total": "1"}, {**GOOD, "id": None, "total": "2"}]
    assert load(lines).made == 3
    before = sql("SELECT * FROM receipts")
    again = load(lines)
    assert (again.made, again.known, again.unread) == (0, 3, [])
    assert sql("SELECT * FROM receipts") == before


@pytest.mark.parametrize("name", ["receipts.jsonl", "receipts.csv"])
def test_a_file_that_the_first_release_imported_is_not_imported_twice(name, load, sql, business_id) -> None:
    made = [json.loads(text) for text in (FIRST_RELEASE / "receipts_made.jsonl").read_text().splitlines()]
    for row in made:
        sql(
            """INSERT INTO receipts (business_id, vendor, amount, currency, received_at, source, source_id)
               VALUES (:business_id, :vendor, :amount, :currency, :received_at, 'import', :source_id)
               ON CONFLICT DO NOTHING""",
            business_id=business_id,
            **{key: value for key, value in row.items() if key != "file"},
        )
    outcome = load((FIRST_RELEASE / name).read_bytes(), name)
    vendors = {row["source_id"]: row["vendor"] for row in sql("SELECT source_id, vendor FROM receipts")}
    new = {key: vendor for key, vendor in vendors.items() if key not in {row["source_id"] for row in made}}
    if name == "receipts.jsonl":
        assert sorted(new.values()) == ["Twice", "Twice"]  # it took three equal lines for one receipt
        assert outcome.unread == []
    else:
        # It read 1.007 as 1 007 beside 5.00, and 03/04/2018 day first beside 12/25/2018: neither is changed in silence.
        assert new == {}
        assert [text.partition(":")[0] for text in outcome.unread] == ["line 4", "line 5", "line 6"]
        assert (
            "exists already as 'Short', 9.00 EUR, 2018-04-03; found 'Short', 9.00 EUR, 2018-03-04" in outcome.unread[2]
        )


def test_equal_lines_without_an_id_are_as_many_receipts_however_often_they_are_read(load, receipts) -> None:
    coffee = line("Coffee", 3)
    assert load([coffee, coffee, line("Bar"), coffee]).made == 4
    again = load([coffee, coffee, line("Bar"), coffee])
    assert (again.made, again.known) == (0, 4)
    assert load([coffee] * 5).made == 2
    assert load("vendor,amount,date\nTea,2,2018-01-01\nTea,2,2018-01-01\n", "tea.csv").made == 2
    assert len(receipts()) == 8


def test_a_batch_is_no_border_for_equal_lines(load, monkeypatch) -> None:
    monkeypatch.setattr("service.imports.importer.BATCH", 2)
    assert load([line("Coffee", 3)] * 7).made == 7
    assert load([line("Coffee", 3, id="c")] * 7).known == 6


@pytest.mark.parametrize(
    "other", [{"amount": 6}, {"vendor": "Bar"}, {"date": "2018-03-05"}, {"currency": "EUR"}, {"amount": -5}]
)
@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "in the next file"])
def test_a_known_id_with_other_content_is_named_and_changes_nothing(other, together, load, receipts) -> None:
    first, second = line(id="a1"), line(id="a1") | other
    outcome = load([first, second] if together else [first])
    if not together:
        outcome = load([second])
    assert receipts() == ["Cafe 5.00 USD 2018-03-04"]
    assert len(outcome.unread) == 1
    assert "id 'a1' exists already as 'Cafe', 5.00 USD, 2018-03-04; found" in outcome.unread[0]


def test_the_same_line_read_in_another_currency_is_named(load, receipts) -> None:
    load([line()], currency="USD")
    assert "exists already as" in load([line()], currency="EUR").unread[0]
    assert len(receipts()) == 1


@pytest.mark.parametrize("header", ["ID", " Id ", "i d"])
def test_an_id_that_the_first_release_did_not_see_makes_no_second_receipt(header, load, sql, business_id) -> None:
    """It looked for "id" exactly in JSON, and gave such a line the hash of its fields."""
    fields = line() | {header: "x-9"}
    load([line() | {header: "x-9"}], columns={"id": ""})
    (before,) = sql("SELECT source_id FROM receipts")
    assert before["source_id"].startswith("sha256:")
    outcome = load([fields], columns={"id": header})
    assert (outcome.made, outcome.known) == (0, 1)
    assert load([line("Other") | {header: "x-10"}], columns={"id": header}).made == 1
    assert {row["source_id"] for row in sql("SELECT source_id FROM receipts")} == {before["source_id"], "x-10"}


def test_the_same_line_for_another_business_is_another_receipt(load, engine, bucket, make, tmp_path) -> None:
    load([GOOD])
    assert import_file(tmp_path / "receipts.jsonl", engine, bucket, make.business(), Options()).made == 1


def test_a_deleted_receipt_stays_deleted(load, sql) -> None:
    load([GOOD])
    sql("UPDATE receipts SET is_deleted = true, deleted_at = now()")
    assert load([GOOD]).known == 1
    assert sql("SELECT is_deleted FROM receipts") == [{"is_deleted": True}]


def test_two_imports_of_the_same_lines_at_once_make_each_receipt_once(
    engine, bucket, business_id, tmp_path, sql
) -> None:
    lines = [json.dumps(line(f"V{n}", n + 1, id=n)) for n in range(3000)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    (tmp_path / "b.jsonl").write_text("\n".join(reversed(lines)))
    made = []

    def run(name: str) -> None:
        made.append(import_file(tmp_path / name, engine, bucket, business_id, Options()).made)

    threads = [Thread(target=run, args=(name,)) for name in ("a.jsonl", "b.jsonl")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(made) == 3000
    assert sql("SELECT count(*) AS n FROM receipts") == [{"n": 3000}]


# What the lines of a file prove together


def test_one_day_that_reads_month_first_decides_for_the_whole_file(load, receipts) -> None:
    outcome = load([line("A", date="12/01/2025"), line("B", date="12/31/2025")])
    assert receipts() == ["A 5.00 USD 2025-12-01", "B 5.00 USD 2025-12-31"]
    assert outcome.notes == ["Days are read as other days of this file prove: month-first (12/31/2025)."]


def test_a_file_that_proves_both_orders_keeps_only_what_is_clear(load, receipts) -> None:
    outcome = load([line("A", date="12/01/2025"), line("B", date="12/31/2025"), line("C", date="31/12/2025")])
    assert receipts() == ["B 5.00 USD 2025-12-31", "C 5.00 USD 2025-12-31"]
    assert "2025-01-12 or 2025-12-01" in outcome.unread[0]
    assert "--dates" in outcome.notes[0]


def test_a_file_that_proves_no_order_is_read_day_first_and_says_so(load, receipts) -> None:
    outcome = load([line("A", date="12/01/2025")])
    assert receipts() == ["A 5.00 USD 2025-01-12"]
    assert "day-first" in outcome.notes[0]
    assert load([line("B", date="2025-01-12")]).notes == []


def test_what_its_owner_says_of_the_days_is_held(load, receipts) -> None:
    outcome = load([line("A", date="12/01/2025"), line("B", date="31/12/2025")], dates=Order.MONTH_FIRST)
    assert receipts() == ["A 5.00 USD 2025-12-01"]
    assert "can't be read month-first" in outcome.unread[0]


def test_the_decimal_point_of_other_lines_decides_what_three_digits_are(load, receipts) -> None:
    outcome = load([line("A", "12.50"), line("B", "1.234"), line("C", "1,234")])
    assert receipts() == ["A 12.50 USD 2018-03-04", "C 1234.00 USD 2018-03-04"]
    assert "decimal point of other amounts" in outcome.unread[0]


def test_an_amount_that_lost_its_quotes_is_not_cut_in_two(load, receipts) -> None:
    csv = "vendor,date,amount,note\nA,2024-01-01,1,234.50,\nB,2024-01-01,12,50,\nC,2024-01-01,1,234.50\n"
    outcome = load(csv + "D,2024-01-01,7,lunch\n" * 2 + "E,2024-01-01,8,\n" * 3, "r.csv")
    assert len(outcome.unread) == 3
    assert {receipt[0] for receipt in receipts()} == {"D", "E"}


@pytest.mark.parametrize(
    "rows",
    [
        "2018-01-13,Foo,12,50,\n2018-01-14,Bar,9,90,\n2018-01-15,Baz,1,99,\n",
        "2018-01-13,Foo,12,50\n2018-01-14,Bar,9,90\n2018-01-15,Baz,1,99\n",
        "2018-01-13,Foo,12,50 EUR,\n2018-01-14,Bar,1234,90 EUR,\n",
        "2018-01-13,Foo,1,234.50,\n2018-01-14,Bar,2,100.00,\n",
        "2018-01-13,Foo,1234,50\n",
        "2018-01-13,Foo,12,5\n",
        "2018-01-13,Room 7, 12,99.00,\n",
    ],
)
def test_a_file_whose_amounts_lost_their_quotes_is_refused_line_by_line(rows, load, receipts) -> None:
    outcome = load("Date,Vendor,Amount,Memo\n" + rows, "r.csv")
    assert receipts() == []
    assert len(outcome.unread) == rows.count("\n")


def test_a_column_of_codes_of_currencies_is_asked_for_whatever_its_name(load, receipts) -> None:
    csv = "vendor,date,amount,Einheit\nA,2018-01-13,5,EUR\nB,2018-01-13,6,USD\n"
    with pytest.raises(UnreadableFileError, match="--columns 'currency=Einheit'"):
        load(csv, "r.csv")
    assert load(csv, "r.csv", columns={"currency": "Einheit"}).made == 2
    assert receipts() == ["A 5.00 EUR 2018-01-13", "B 6.00 USD 2018-01-13"]


@pytest.mark.parametrize("number", ["1e30", "1" + "0" * 40, "1e9999999", "-1e30"])
def test_an_absurd_number_costs_its_own_line(number, load, receipts) -> None:
    bad = json.dumps(line("Bad")).replace('"amount": 5', f'"amount": {number}')
    assert len(load([bad, line("Good")]).unread) == 1
    assert receipts() == ["Good 5.00 USD 2018-03-04"]


def test_a_column_of_numbers_after_the_amount_is_a_column(load) -> None:
    csv = "vendor,date,amount,balance\n" + "".join(f"V{n},2024-01-01,{n},{900 - n}.00\n" for n in range(1, 9))
    assert load(csv, "r.csv").made == 8


@pytest.mark.parametrize(
    ("amounts", "made"),
    [
        (["1.234", "5.000"], 2),
        (["12.50", "1.234"], 1),
        (["12.50", "1.234", "2,50"], 2),
        (["1,234,567", "1.234"], 1),
        (["1.234.567", "1,234"], 1),
        (["1234", "1.234"], 1),
        (["1234.50", "1,234"], 2),
        (["1 234,50", "1.234"], 1),
    ],
)
def test_thousands_are_what_the_file_does_not_contradict(amounts, made, load) -> None:
    assert load([line(f"V{n}", amount) for n, amount in enumerate(amounts)]).made == made


def test_what_nothing_proves_is_told(load) -> None:
    assert load([line(amount="1.234")]).notes == [
        "Amounts such as 1.234 are read as thousands: no amount of this file proves otherwise."
    ]


def test_numbers_of_json_are_evidence_too(load, receipts) -> None:
    outcome = load([line("A", 12.5), line("B", "12.500"), line("C", date="12252024"), line("D", date="12052024")])
    assert receipts() == ["A 12.50 USD 2018-03-04", "C 5.00 USD 2024-12-25", "D 5.00 USD 2024-12-05"]
    assert len(outcome.unread) == 1
    load([{**line("E"), "date": 12252024}, {**line("F"), "date": 12052024}])
    assert receipts()[-1] == "F 5.00 USD 2024-12-05"


def test_a_day_that_is_yet_to_come_is_a_mistake(load, receipts) -> None:
    outcome = load([line("A", date="12/05/67"), line("B", date="25/12/2099"), line("C", date="2018-05-12")])
    assert receipts() == ["C 5.00 USD 2018-05-12"]
    assert "expected a day in the past" in outcome.unread[0]


def test_one_odd_year_does_not_turn_the_others_round(load, receipts) -> None:
    outcome = load([line("A", date="05/06/24"), line("B", date="07/08/23"), line("C", date="05/06/30")])
    assert not [receipt for receipt in receipts() if " 2005" in receipt or " 2007" in receipt]
    assert outcome.unread


def test_hostile_cells_of_any_length_are_read_in_no_time(load) -> None:
    """Each of them took seconds, or for ever, with a pattern that backtracks."""
    cells = ["1" + " " * n + "1" + " " * n + "b" for n in (240, 1000, 100_000)]
    cells += ["a" + " " * n + "b" for n in (1000, 100_000)] + ["(5" + "\x00" * 50_000, "(" * 50_000, "1," * 50_000]
    lines = [line(amount=cell) for cell in cells] + [line(date=cell) for cell in cells]
    outcome = load(lines + [{**line(), cell[:1000]: 1} for cell in cells] + [line()])
    assert len(outcome.unread) == 2 * len(cells)


def test_a_file_in_an_old_encoding_is_said_once_and_nothing_of_it_is_imported(load, receipts) -> None:
    csv = "vendor,amount,date\n" + "".join(f"חנות {n},5,2018-01-02\n" for n in range(500))
    with pytest.raises(UnreadableFileError, match="'חנות"):
        load(csv.encode("cp1255"), "r.csv")
    assert receipts() == []
    assert load(csv.encode("cp1255"), "r.csv", encoding="cp1255").made == 500
    assert receipts()[0] == "חנות 0 5.00 USD 2018-01-02"


def test_one_line_that_is_not_utf_8_costs_itself(load, receipts) -> None:
    outcome = load("vendor,amount,date\nCafé,5,2018-01-02\n".encode() + b"Caf\xe9,5,2018-01-02\n", "r.csv")
    assert receipts() == ["Café 5.00 USD 2018-01-02"]
    assert outcome.unread == ["line 3: 'Caf\\udce9': found bytes that are not UTF-8 text"]


@pytest.mark.parametrize("amount", ["12,34", "(12.34)"])
def test_a_file_that_cannot_be_read_twice_is_copied(amount, engine, bucket, business_id, tmp_path, receipts) -> None:
    os.mkfifo(tmp_path / "pipe")
    text = json.dumps(line(amount=amount))
    writer = Thread(target=(tmp_path / "pipe").write_text, args=(text,))
    writer.start()
    import_file(tmp_path / "pipe", engine, bucket, business_id, Options())
    writer.join()
    assert receipts() == [f"Cafe {'-' * amount.startswith('(')}12.34 USD 2018-03-04"]


# Files


def test_files_go_into_the_bucket_under_a_key_that_holds_the_attachments_id(load, sql, bucket, tmp_path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "1.JPEG").write_bytes(JPEG)
    outcome = load([{**GOOD, "image": "scans/1.JPEG"}])
    assert outcome.uploaded == 1
    (row,) = sql("SELECT id, object_key, content_type, size FROM attachments")
    assert bucket.keys() == [row["object_key"]]
    assert row["object_key"].endswith(f"/{row['id']}.jpg")
    assert (row["content_type"], row["size"]) == ("image/jpeg", len(JPEG))


def test_many_files_go_up_at_once_each_under_its_own_receipt(load, sql, bucket, tmp_path) -> None:
    for n in range(50):
        (tmp_path / f"{n}.pdf").write_bytes(PDF + b"x" * n)
    assert load([line(f"V{n}", id=n, pdf=f"{n}.pdf") for n in range(50)]).uploaded == 50
    rows = sql("SELECT r.source_id, a.size FROM attachments a JOIN receipts r ON r.id = a.receipt_id")
    assert {(int(row["source_id"]), row["size"] - len(PDF)) for row in rows} == {(n, n) for n in range(50)}


def test_files_go_up_at_the_same_time(load, bucket, tmp_path) -> None:
    (tmp_path / "1.pdf").write_bytes(PDF)
    both = Barrier(2, timeout=30)

    class Meeting(Bucket):
        def put(self, *arguments):
            both.wait()
            return super().put(*arguments)

    assert load([line(f"V{n}", pdf="1.pdf") for n in range(32)], bucket=Meeting(bucket._settings)).uploaded == 32


def test_what_went_up_before_the_bucket_refused_is_kept(load, bucket, sql, tmp_path) -> None:
    (tmp_path / "1.pdf").write_bytes(PDF)

    class Refusing(Bucket):
        puts = 0

        def put(self, *arguments):
            self.puts += 1
            if self.puts > 5:
                raise StorageError("no more")
            return super().put(*arguments)

    lines = [line(f"V{n}", pdf="1.pdf") for n in range(16)]
    with pytest.raises(StorageError, match="no more"):
        load(lines, bucket=Refusing(bucket._settings))
    assert sql("SELECT count(*) AS n FROM attachments WHERE size IS NOT NULL") == [{"n": 5}]
    assert load(lines).uploaded == 11
    assert len(bucket.keys()) == 16


def test_an_upload_that_failed_is_made_up_for_by_running_again(load, sql, bucket, settings, tmp_path) -> None:
    (tmp_path / "1.pdf").write_bytes(PDF)
    away = Bucket(settings.model_copy(update={"S3_ENDPOINT_URL": "http://127.0.0.1:1"}))
    with pytest.raises(StorageError):
        load([{**GOOD, "image": "1.pdf"}], bucket=away)
    assert sql("SELECT size FROM attachments") == [{"size": None}]
    assert load([{**GOOD, "image": "1.pdf"}]).uploaded == 1
    assert load([{**GOOD, "image": "1.pdf"}]).uploaded == 0
    assert len(bucket.keys()) == len(sql("SELECT FROM receipts")) == 1


def test_an_object_whose_import_was_killed_before_its_mark_can_still_be_purged(
    load, sql, bucket, engine, tmp_path
) -> None:
    (tmp_path / "1.pdf").write_bytes(PDF)

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
@pytest.mark.scale
def test_a_file_that_takes_longer_to_go_up_than_a_session_may_idle_arrives(load, bucket, tmp_path) -> None:
    (tmp_path / "1.pdf").write_bytes(PDF)

    class Slow(Bucket):
        def put(self, *arguments):
            Event().wait(17)
            return super().put(*arguments)

    assert load([{**GOOD, "image": "1.pdf"}], bucket=Slow(bucket._settings)).uploaded == 1


def test_a_file_whose_receipt_was_deleted_meanwhile_is_not_uploaded(load, sql, bucket, settings, tmp_path) -> None:
    (tmp_path / "1.pdf").write_bytes(PDF)
    away = Bucket(settings.model_copy(update={"S3_ENDPOINT_URL": "http://127.0.0.1:1"}))
    with pytest.raises(StorageError):
        load([{**GOOD, "image": "1.pdf"}], bucket=away)
    sql("UPDATE attachments SET purge_requested_at = now(), purge_after = now()")
    assert load([{**GOOD, "image": "1.pdf"}]).uploaded == 0
    assert bucket.keys() == []


@pytest.mark.parametrize("uploaded", [True, False], ids=["uploaded", "interrupted"])
@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "in the next file"])
def test_a_file_belongs_to_the_line_that_made_the_receipt(
    uploaded, together, load, sql, bucket, settings, tmp_path
) -> None:
    (tmp_path / "mine.pdf").write_bytes(PDF + b"mine")
    (tmp_path / "other.pdf").write_bytes(PDF + b"another file")
    mine, other = line(id="a", pdf="mine.pdf"), line(id="a", pdf="other.pdf")
    first = [mine, other] if together else [mine]
    if uploaded:
        outcome = load(first)
    else:
        away = Bucket(settings.model_copy(update={"S3_ENDPOINT_URL": "http://127.0.0.1:1"}))
        with pytest.raises(StorageError):
            load(first, bucket=away)
    outcome = load([other, mine])
    assert ["other.pdf" in text and "has another file" in text for text in outcome.unread] == [True]
    assert sql("SELECT size FROM attachments") == [{"size": len(PDF) + 4}]
    assert len(bucket.keys()) == 1


def test_a_receipt_that_was_made_without_a_file_gets_none_later_and_that_is_said(load, sql, tmp_path) -> None:
    (tmp_path / "1.pdf").write_bytes(PDF)
    load([line(id="a")])
    assert "stays without" in load([line(id="a", pdf="1.pdf")]).unread[0]
    assert sql("SELECT FROM attachments") == []


def test_a_file_of_the_release_before_is_told_by_its_size(load, sql, tmp_path) -> None:
    (tmp_path / "1.pdf").write_bytes(PDF)
    load([line(id="a", pdf="1.pdf")])
    sql("UPDATE attachments SET sha256 = NULL")
    assert load([line(id="a", pdf="1.pdf")]).known == 1
    (tmp_path / "1.pdf").write_bytes(PDF + b"more")
    assert "has another file" in load([line(id="a", pdf="1.pdf")]).unread[0]


def test_a_file_that_changes_while_it_waits_is_not_uploaded_and_named(load, tmp_path, monkeypatch) -> None:
    (tmp_path / "1.pdf").write_bytes(PDF)
    (tmp_path / "2.pdf").write_bytes(PDF)

    def store_and_change(*arguments):
        stored = store(*arguments)
        (tmp_path / "1.pdf").write_bytes(PDF + b"changed")
        return stored

    monkeypatch.setattr("service.imports.importer.store", store_and_change)
    outcome = load([line("A", pdf="1.pdf"), line("B", pdf="2.pdf")])
    assert outcome.uploaded == 1
    assert outcome.unread == ["line 1: its receipt is created but its file not uploaded: it has changed since"]


@pytest.mark.parametrize("kind", ["png", "jpg", "pdf"])
def test_the_first_bytes_say_what_a_file_is_whatever_its_name(kind, load, sql, tmp_path) -> None:
    (tmp_path / "scan.bin").write_bytes({"png": PNG, "jpg": JPEG, "pdf": PDF}[kind])
    load([line(file="scan.bin")])
    (row,) = sql("SELECT object_key, content_type FROM attachments")
    assert row["object_key"].endswith(f".{kind}")
    assert row["content_type"] == {"png": "image/png", "jpg": "image/jpeg", "pdf": "application/pdf"}[kind]
