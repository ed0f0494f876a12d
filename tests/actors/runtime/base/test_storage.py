"""The bucket: what is wrong with it is said in a sentence."""

import secrets
from io import BytesIO
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest

from actors.runtime.base.errors import StorageError, StorageUnreachableError
from actors.runtime.base.multipart import PART_BYTES, Multipart
from actors.runtime.base.storage import Bucket
from tests.actors.runtime.fakes3 import error


def test_a_file_goes_up_is_listed_and_goes_away(bucket, tmp_path) -> None:
    file = tmp_path / "a.pdf"
    file.write_bytes(b"12345")
    assert bucket.put("businesses/1/a.pdf", file, "application/pdf") == 5
    assert bucket.keys() == ["businesses/1/a.pdf"]
    assert bucket.delete(["businesses/1/a.pdf", "businesses/1/never-there.pdf"]) == {}
    assert bucket.keys() == []


def test_a_bucket_that_is_dropped_is_gone_with_all_that_was_in_it(settings, tmp_path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    one = Bucket(settings.model_copy(update={"S3_BUCKET": f"longhaul-test-{secrets.token_hex(4)}"}))
    one.create()
    one.put("a.pdf", tmp_path / "a", "application/pdf")
    one.drop()
    with pytest.raises(StorageError, match="does not exist"):
        one.check()


@pytest.mark.parametrize(
    ("variable", "value", "error", "says"),
    [
        ("S3_BUCKET", "no-such-bucket", StorageError, "does not exist; see S3_BUCKET"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2", StorageError, "refuses our credentials"),
        ("AWS_ACCESS_KEY_ID", "hunter2", StorageError, "refuses our credentials"),
        ("S3_ENDPOINT_URL", "http://127.0.0.1:1", StorageUnreachableError, "cannot be reached"),
    ],
)
def test_what_is_wrong_with_the_bucket_is_named_without_a_secret(variable, value, error, says, settings) -> None:
    wrong = Bucket(settings.model_copy(update={variable: value}))
    with pytest.raises(error) as refusal:
        wrong.check()
    assert says in str(refusal.value)
    assert "hunter2" not in str(refusal.value)
    failed = wrong.delete(["a", "b"])
    assert failed.keys() == {"a", "b"}


@pytest.mark.parametrize("step", ["begin", "upload", "complete"])
def test_an_upload_in_parts_says_it_at_each_of_its_steps(step, settings) -> None:
    away = Bucket(settings.model_copy(update={"S3_ENDPOINT_URL": "http://127.0.0.1:1"}))
    upload = Multipart(away, "a.csv", "1")
    steps = {
        "begin": lambda: Multipart.begin(away, "a.csv", "text/csv"),
        "upload": lambda: upload.upload(1, b"a"),
        "complete": lambda: upload.complete([]),
    }
    with pytest.raises(StorageUnreachableError, match="cannot be reached"):
        steps[step]()


def test_a_link_reads_one_object_for_a_while_and_names_the_file(bucket, tmp_path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    bucket.put("a.pdf", tmp_path / "a", "application/pdf")
    address = bucket.link("a.pdf", 'Rechnung "März"\\\n5.pdf', 60)
    with urlopen(address, timeout=30) as answer:  # noqa: S310 - of our own store
        assert answer.read() == b"12345"
        assert answer.headers["Content-Type"] == "application/pdf"
    said = parse_qs(urlsplit(address).query)
    assert said["X-Amz-Expires"] == ["60"]
    assert said["response-content-disposition"] == ['attachment; filename="Rechnung Mrz5.pdf"']
    shown = parse_qs(urlsplit(bucket.link("a.pdf", "a.pdf", 5, inline=True)).query)
    assert shown["response-content-disposition"] == ['inline; filename="a.pdf"']


def test_an_upload_in_parts_makes_one_object_and_may_be_completed_twice(bucket) -> None:
    upload = Multipart.begin(bucket, "a.csv", "text/csv")
    parts = [upload.upload(1, b"x" * PART_BYTES), upload.upload(2, b"end")]
    assert [part["PartNumber"] for part in parts] == [1, 2]
    assert bucket.keys() == []
    for _ in range(2):
        Multipart(bucket, "a.csv", upload.upload_id).complete(parts)
    with urlopen(bucket.link("a.csv", "a.csv", 60), timeout=30) as answer:  # noqa: S310 - of our own store
        assert answer.read() == b"x" * PART_BYTES + b"end"
        assert answer.headers["Content-Type"] == "text/csv"


def test_a_worker_that_boots_tries_once_and_all_other_calls_twice(store, fake) -> None:
    store.refuse = lambda *_: error(503, "ServiceUnavailable")
    with pytest.raises(StorageUnreachableError):
        fake().check()
    assert len(store.calls) == 1
    with pytest.raises(StorageUnreachableError):
        fake().put("a.pdf", BytesIO(b"12345"), "application/pdf")
    assert len(store.calls) == 3


def test_what_older_stores_refuse_is_not_sent_to_them(store, fake) -> None:
    bucket = fake(AWS_REGION="eu-west-9")
    file = BytesIO(b"12345")
    assert bucket.put("a.pdf", file, "application/pdf") == 5
    assert not file.closed  # it is its owner's
    (sent,) = store.headers
    assert (sent["content-length"], sent["content-type"]) == ("5", "application/pdf")
    assert [name for name in sent if "checksum" in name or "trailer" in name] == []
    assert "/eu-west-9/s3/" in sent["authorization"]
    said = parse_qs(urlsplit(bucket.link("a.pdf", "a.pdf", 60)).query)
    assert said["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert said["X-Amz-Credential"][0].endswith("/eu-west-9/s3/aws4_request")
    assert not [name for name in said if "checksum" in name.lower()]


def test_an_upload_that_is_unknown_and_has_left_no_object_is_not_taken_for_completed(bucket) -> None:
    with pytest.raises(StorageError, match=r"does not exist|answered"):
        Multipart(bucket, "a.csv", "0").complete([{"PartNumber": 1, "ETag": '"0"'}])
