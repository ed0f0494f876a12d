"""`import`: what it exits with, and what it refuses to begin."""

import pytest


def test_import_loads_names_what_it_could_not_read_and_exits_with_1(command, make, tmp_path, sql) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text('{"vendor": "X", "amount": 1, "date": "2018-01-01"}\n{"vendor": "X", "date": "2018-01-01"}\n')
    done = command("import", file, "--business", make.business(), "--currency", "eur")
    assert done.returncode == 1
    assert f"{file}, line 2: amount or total is missing" in done.stderr
    assert "1 receipts created, 0 existed already, 0 files uploaded, 1 lines could not be read" in done.stdout
    assert sql("SELECT currency FROM receipts") == [{"currency": "EUR"}]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"S3_BUCKET": "no-such-bucket"}, "does not exist; see S3_BUCKET"),
        ({"AWS_SECRET_ACCESS_KEY": "hunter2"}, "refuses our credentials"),
        ({"S3_ENDPOINT_URL": "http://127.0.0.1:1"}, "cannot be reached"),
        ({"S3_BUCKET": None}, "S3_BUCKET is not set"),
    ],
)
def test_import_into_a_bucket_that_cannot_be_used_does_nothing(changes, says, command, make, tmp_path, sql) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text('{"vendor": "X", "amount": 1, "date": "2018-01-01"}\n')
    done = command("import", file, "--business", make.business(), **changes)
    assert done.returncode == 1
    assert says in done.stderr
    assert "hunter2" not in done.stderr
    assert sql("SELECT FROM receipts") == []


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_import_of_a_file_that_is_not_there_says_so(name, command, make, tmp_path) -> None:
    done = command("import", tmp_path / name, "--business", make.business())
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr
