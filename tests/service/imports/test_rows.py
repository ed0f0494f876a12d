"""Files in every dialect: read as they are meant, or said once for the whole file what is wrong."""

import io

import pytest

from service.imports import text_lines
from service.imports.rows import Row, UnreadableFileError
from service.imports.sheet import Sheet

HEADER = "id,vendor,amount,date,notes\n"


def sheet(data: bytes | str, name: str = "receipts.csv", **options: object) -> Sheet:
    raw = data if isinstance(data, bytes) else data.encode()
    return Sheet(io.BytesIO(raw), name=name, **options)  # type: ignore[arg-type]


def read(data: bytes | str, name: str = "receipts.csv", **options: object) -> list[object]:
    """The cells of each row, or `first-last: why` for lines that are none."""
    found: list[object] = []
    for row in sheet(data, name, **options).rows():
        found.append(row.cells if isinstance(row, Row) else f"{row.first}-{row.last}: {row.why}")
    return found


CELLS = ["1", "Café", "5.00", "2018-01-02", ""]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_the_delimiter_and_a_marked_encoding_are_recognised(delimiter: str, encoding: str) -> None:
    text = f"{HEADER}1,Café,5.00,2018-01-02,\n".replace(",", delimiter)
    assert read(text.encode(encoding)) == [CELLS]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_every_end_of_a_line_will_do(ending: str) -> None:
    assert read(f"{HEADER}1,Café,5.00,2018-01-02,\n2,Bar,6,2018-01-02,".replace("\n", ending)) == [
        CELLS,
        ["2", "Bar", "6", "2018-01-02", ""],
    ]


def test_a_line_that_tells_the_delimiter_is_obeyed_and_an_amount_may_hold_a_comma() -> None:
    assert read("sep=;\nvendor;amount;date\nBar;5,50;2018-01-02\n") == [["Bar", "5,50", "2018-01-02"]]


def test_lines_before_the_header_are_passed_over_and_said() -> None:
    found = sheet("Account: 12345\n\nPeriod;2018\n\nVendor;Amount;Date\nBar;5;2018-01-02\n")
    assert [row.cells for row in found.rows()] == [["Bar", "5", "2018-01-02"]]
    assert "4 lines before the header, which ends on line 5, were skipped." in found.notes


def test_empty_rows_and_trailing_commas_are_no_errors() -> None:
    text = "vendor,amount,date\nBar,5,2018-01-02,\n,,\n\n  \nFoo,6,2018-01-02,,,\n , ,\n"
    assert read(text) == [["Bar", "5", "2018-01-02"], ["Foo", "6", "2018-01-02"]]


def test_an_empty_file_has_no_rows() -> None:
    assert read("") == []
    assert read("", "receipts.jsonl") == []
    assert read("\n\n", "receipts.jsonl") == []


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("foo,bar\n1,2\n", "found the columns 'foo', 'bar'; expected one for each of vendor and amount and date"),
        ("vendor;sum;date\n", "found the columns 'vendor', 'sum', 'date'; expected one for each of amount"),
        ("date,payee,debit,credit\n", "say which are receipts: --columns amount=debit"),
        ("Date,Payee,Paid Out,Paid In\n", "say which are receipts: --columns amount=paid out"),
        ("1,Bar,5.00,2018-01-02\n", "found no header"),
        (b"PK\x03\x04\x14\x00" + b"\x00" * 100, "Excel"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old Excel"),
        (b"%PDF-1.4\n", "found a PDF"),
        (b"\x1f\x8b\x08\x00", "compressed"),
        (b"\x00\x01\x02\x03" * 50, "binary"),
        ("<html><table><tr><td>vendor</td></tr></table>", "HTML"),
        ("vendor,amount,date\n".encode("utf-16-le"), "--encoding utf-16-le"),
        ("vendor,amount,date\n".encode("utf-16-be"), "--encoding utf-16-be"),
        ("ספק;סכום;תאריך\nסופר פארם;5;2018-01-02\nשופרסל;7;2018-01-03\n".encode("cp1255"), "'ספק' as windows-1255"),
        (
            "vendor,amount,date\nCafé,5,2018-01-02\n,1,2018-01-02\n".encode("cp1252").replace(b"vendor", b"vend\xf6r"),
            "'ör' as w",
        ),
    ],
)
def test_what_is_wrong_with_a_whole_file_is_said_once(data: bytes | str, says: str) -> None:
    with pytest.raises(UnreadableFileError) as refusal:
        read(data)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize("data", ["[\n{}\n]", '[{"vendor": "X"}]', "{\n", '[{"vendor": "X"},\n', '{ "vendor":\n"X"}'])
def test_one_json_document_is_said_to_be_no_json_lines(data: str) -> None:
    with pytest.raises(UnreadableFileError, match="expected JSON Lines"):
        read(data, "receipts.json")


@pytest.mark.parametrize("encoding", ["windows-1255", "iso-8859-8", "cp1255"])
def test_an_encoding_that_its_owner_names_is_used(encoding: str) -> None:
    text = "ספק;סכום;תאריך\nסופר פארם;5;2018-01-02\n"
    assert read(text.encode(encoding), encoding=encoding) == [["סופר פארם", "5", "2018-01-02"]]


def test_bytes_that_the_named_encoding_does_not_have_are_said_once() -> None:
    with pytest.raises(UnreadableFileError, match="not windows-1252 text"):
        read(HEADER.encode() + b"1,\x81,5,2018-01-02,\n", encoding="windows-1252")


def test_the_kind_of_file_is_known_by_its_name_or_its_first_character() -> None:
    assert sheet('{"vendor": "X"}', "receipts.jsonl").is_json
    assert sheet('\n {"vendor": "X"}', "-").is_json
    assert sheet("\ufeff{}", "receipts.txt").is_json
    assert not sheet(HEADER, "-").is_json
    assert not sheet(HEADER, "receipts.txt").is_json


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('1,"Cafe,5.00,2018-01-01,\n2,Bar,6,2018-01-01,\n', ["2-3: a quote that opens on line 2 is never closed"]),
        (
            '1,"Cafe,5.00,2018-01-01,\n2,"Bar",6,2018-01-01,\n3,Foo,7,2018-01-01,\n',
            [
                "2-3: found text after a closing quote; a quote within a field must be doubled",
                ["3", "Foo", "7", "2018-01-01", ""],
            ],
        ),
        (
            '1,Cafe,5,2018-01-01,"note\n2,Bar,6,2018-01-01,x"\n3,Foo,7,2018-01-01,\n',
            ["2-3: a quote that opens on line 2 or below runs over whole rows", ["3", "Foo", "7", "2018-01-01", ""]],
        ),
        (
            '1,"Cafe" X,5,2018-01-01,\n',
            ["2-2: found text after a closing quote; a quote within a field must be doubled"],
        ),
        ('1,Cafe "X",5,2018-01-01,\n', [["1", 'Cafe "X"', "5", "2018-01-01", ""]]),
        ('1,"Cafe ""X""",5,2018-01-01,\n', [["1", 'Cafe "X"', "5", "2018-01-01", ""]]),
        ('1,Cafe,5,2018-01-01,"two\nlines, really"\n', [["1", "Cafe", "5", "2018-01-01", "two\nlines, really"]]),
        ("1,Cafe,5\n", ["2-2: found 3 fields, expected the 5 of the header"]),
        ("1,Cafe,5,2018-01-01\n", [["1", "Cafe", "5", "2018-01-01"]]),  # only the notes are missing
        ("1,Cafe,5,2018-01-01,,x\n", ["2-2: found more fields than the header names"]),
    ],
)
def test_a_stray_quote_costs_the_lines_that_it_names_and_no_other(text: str, found: list[object]) -> None:
    assert read(HEADER + text) == found


def test_a_quote_in_a_middle_column_that_swallows_a_row_is_not_read_as_one_row() -> None:
    text = 'id,vendor,notes,amount,date\n1,Cafe,"note,5,2018-01-01\n2,Bar,more",6,2018-01-02\n'
    assert read(text) == ["2-3: a quote that opens on line 2 or below runs over whole rows"]


@pytest.mark.parametrize(
    "text",
    [
        'vendor,note,amount,date,\nAcme,"fine,5.00,2024-01-01\nBeta,ok",6.00,2024-01-02\n',
        'vendor,amount,date,note,category\nAcme,5.00,2024-01-01,"fine\nBeta,6.00,2024-01-02,ok"\n',
        'vendor\tamount\tdate\tnote\nAcme\t5\t2024-01-01\t"fine\nBeta\t6\t2024-01-02\tok"\n',
        'vendor,memo,amount,date,note\nA,"a\nb",5,2024-01-01,"7 inch\nB,x,6,2024-01-03,\nC,x,8,2024-01-04,z"\n',
    ],
)
def test_rows_that_a_quote_has_swallowed_are_named_whatever_stands_around_them(text: str) -> None:
    found = read(text)
    assert found
    assert all(isinstance(row, str) for row in found), found


def test_a_note_of_several_lines_with_commas_in_it_is_no_swallowed_row() -> None:
    note = "Street 1, Floor 2\nCity, Region, 2024, Country\n5, 6, 7, 8"
    assert read(f'vendor,amount,date,note\nAcme,5,2024-01-01,"{note}"\n') == [["Acme", "5", "2024-01-01", note]]


def test_text_in_a_column_without_a_name_is_no_part_of_a_row() -> None:
    found = read("vendor,date,amount,\nA,2024-01-01,12,50\nB,2024-01-01,12,\n")
    assert found == ["2-2: found text in a column without a name", ["B", "2024-01-01", "12", ""]]


def test_a_header_of_several_lines_is_one_header() -> None:
    found = sheet('vendor,date,"amount\n(EUR)"\nA,2024-01-01,5\n')
    assert [row.names for row in found.rows()] == [("vendor", "date", "amount\n(EUR)")]
    with pytest.raises(UnreadableFileError):
        sheet('vendor,date,"amount\nA,2024-01-01,5\n')


def test_a_second_table_is_read_by_its_own_header_and_a_repeated_header_is_no_row() -> None:
    found = sheet(
        "date,vendor,amount,fee\n2024-01-01,A,5,1\ndate,vendor,amount,fee\ndate,vendor,fee,amount\n2024-01-02,B,1,7\n"
    )
    rows = [row for row in found.rows() if isinstance(row, Row)]
    assert [dict(zip(row.names, row.cells, strict=True))["amount"] for row in rows] == ["5", "7"]


def test_a_currency_under_another_name_is_asked_for_once() -> None:
    text = "vendor,date,amount,Original Currency\nA,2024-01-01,5,EUR\n"
    with pytest.raises(UnreadableFileError, match="--columns 'currency=Original Currency'"):
        sheet(text)
    assert sheet(text, columns={"currency": "original currency"}).notes == []
    assert sheet(text, columns={"currency": ""}).notes == []


def test_the_mark_of_an_encoding_beats_what_is_told_or_contradicts_it() -> None:
    text = "vendor,amount,date\nCafé,5,2018-01-02\n"
    for told in (None, "utf-16-le", "utf-8"):
        assert [row.names[0] for row in sheet(text.encode("utf-16"), encoding=told).rows()] == ["vendor"]
    with pytest.raises(UnreadableFileError, match="found the byte order mark of utf-8, but --encoding cp1252"):
        sheet(text.encode("utf-8-sig"), encoding="cp1252")


def test_a_quote_that_never_closes_costs_200_lines_and_the_rest_is_read() -> None:
    lines = [f"{n},Bar,6,2018-01-01,\n" for n in range(1000)]
    lines[10] = '10,"Bar,6,2018-01-01,\n'
    found = read(HEADER + "".join(lines))
    assert len(found) > 790
    assert [row for row in found if isinstance(row, str)] == [
        "12-212: a quote opens on line 12 and stays open for 200 lines"
    ]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"amount": 1, "amount": 2}', "found the key 'amount' twice, with different values"),
        ('{"amount": true, "amount": 1}', "found the key 'amount' twice, with different values"),
        ('{"a": 1, "b": 2, "a": null}', "found the key 'a' twice, with different values"),
        ("{not json}", "expected a JSON object"),
        ("[1, 2]", "found '[1, 2]', expected a JSON object"),
        ("5", "found '5', expected a JSON object"),
        ("[" * 100_000, "expected a JSON object"),
        ('{"a": ' * 20_000, "expected a JSON object"),
        ('{"n": ' + "9" * 5000 + "}", "expected a JSON object"),
        ('{"n": 1e99999999999999999999}', "expected a JSON object"),
        ("{" + ", ".join(f'"k{n}": 1' for n in range(3000)) + "}", "found 3000 keys, expected at most 2000"),
    ],
)
def test_a_line_of_json_that_is_no_object_is_named(line: str, why: str) -> None:
    found = read(f'{{"ok": 1}}\n{line}\n{{"ok": 2}}\n', "receipts.jsonl")
    assert found[0::2] == [[1], [2]]
    assert str(found[1]).startswith("2-2: ")
    assert why in str(found[1])


def test_a_key_that_is_twice_in_a_line_with_the_same_value_is_one() -> None:
    assert read('{"a": 1, "a": 1, "b": {"c": 1, "c": 2}}', "receipts.jsonl") == [[1, {"c": 2}]]


@pytest.mark.parametrize("name", ["receipts.csv", "receipts.jsonl"])
def test_a_line_that_is_too_long_is_refused_without_being_held(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "MAX_LINE", 100)
    good = HEADER if name == "receipts.csv" else '{"ok": 1}\n'
    last = "1,Café,5.00,2018-01-02,\n" if name == "receipts.csv" else '{"ok": 2}'
    found = read(good + "x" * 100_000 + "\n" + last, name)
    assert found[-1] == (CELLS if name == "receipts.csv" else [2])
    assert found[-2] == "2-2: found a line longer than 100 characters"


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("length", range(97, 104))
def test_around_the_longest_line_no_line_is_lost_or_counted_twice(
    length: int, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_lines, "MAX_LINE", 100)
    for times in (1, 2, 3):
        long = "B" * (length * times - 15) + ",6.00,2018-01-02"
        found = list(sheet(f"vendor,amount,date{ending}{long}{ending}C,7.00,2018-01-02{ending}x{ending}").rows())
        assert [row.first for row in found] == [2, 3, 4]
        assert isinstance(found[1], Row)
        assert found[1].cells == ["C", "7.00", "2018-01-02"]


def test_a_row_is_no_longer_than_a_line_may_be() -> None:
    lines = ("x," * 100_000 + "\n") * 15
    found = read(f'vendor,amount,date,note\nA,5,2018-01-02,"{lines}"\nB,6,2018-01-02,\n')
    assert "runs over 1,048,576 characters" in str(found[0])
    assert all(isinstance(row, str) for row in found)
