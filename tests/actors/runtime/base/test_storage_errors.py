"""What goes wrong with a store is told in a sentence that names the variable to look at."""

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ParamValidationError

from actors.runtime.base.errors import StorageError, StorageUnreachableError
from actors.runtime.base.storage_errors import explain, is_of_the_call
from tests.actors.runtime.fakes3 import error

KEYS = [f"businesses/1/receipts/{n}.pdf" for n in range(1000)]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (error(301, "PermanentRedirect"), "AWS_REGION"),
        ((301, ""), "redirect"),
        ((307, ""), "redirect"),
        ((308, "<html>moved</html>"), "redirect"),
        (error(400, "AuthorizationHeaderMalformed"), "see AWS_REGION"),
        (error(400, "IllegalLocationConstraintException"), "see AWS_REGION"),
        (error(400, "InvalidRegion"), "see AWS_REGION"),
        (error(400, "ExpiredToken"), "see AWS_SESSION_TOKEN"),
        (error(400, "TokenRefreshRequired"), "see AWS_SESSION_TOKEN"),
        (error(400, "InvalidToken"), "see AWS_SESSION_TOKEN"),
        (error(403, "RequestTimeTooSkewed"), "set the clock"),
        (error(403, "RequestExpired"), "set the clock"),
        (error(403, "InvalidAccessKeyId"), "see AWS_ACCESS_KEY_ID"),
        (error(403, "AccessDenied"), "AWS_SECRET_ACCESS_KEY, and their rights"),
        ((403, ""), "refuses our credentials (403); see AWS_ACCESS_KEY_ID"),
        ((404, ""), "see S3_BUCKET"),
        (error(400, "Teapot"), "answered Teapot"),
        (error(403, "SignatureDoesNotMatch"), "AWS_SECRET_ACCESS_KEY"),
        (error(404, "NoSuchBucket"), "see S3_BUCKET"),
        (error(400, "InvalidBucketName"), "see S3_BUCKET"),
    ],
)
def test_each_fault_names_the_right_variable_in_one_sentence(answer, says, store, fake, tmp_path) -> None:
    store.refuse = lambda *_: answer
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.1")
    for call in (lambda: fake().check(), lambda: fake().put("a.pdf", tmp_path / "a.pdf", "application/pdf")):
        with pytest.raises(StorageError) as refusal:
            call()
        assert says in str(refusal.value)
        assert "\n" not in str(refusal.value)
        assert not isinstance(refusal.value, StorageUnreachableError)
    assert fake().delete(["a"]).keys() == {"a"}


@pytest.mark.parametrize(
    ("endpoint", "where"),
    [(None, "AWS"), ("http://key:hunter2@store.example:9000/s3", "http://store.example:9000/s3")],
)
def test_where_the_bucket_is_is_said_without_a_password(endpoint, where, settings) -> None:
    said = str(explain(RecursionError(), settings.model_copy(update={"S3_ENDPOINT_URL": endpoint})))
    assert said.startswith(f"bucket {settings.S3_BUCKET!r} at {where} answers with a redirect")


@pytest.mark.parametrize("name", ["no spaces", "a/b", "ümlaut"])
def test_a_name_that_no_bucket_can_have_is_named(name: str, fake) -> None:
    with pytest.raises(StorageError, match="see S3_BUCKET"):
        fake(S3_BUCKET=name).check()


def test_a_key_that_no_object_can_have_is_not_blamed_on_the_buckets_name(fake, tmp_path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.1")
    with pytest.raises(StorageError) as refusal:
        fake().put("", tmp_path / "a.pdf", "application/pdf")
    assert str(refusal.value).endswith(
        "can't be asked for this: Invalid length for parameter Key, value: 0, valid min length: 1"
    )
    assert not isinstance(refusal.value, StorageUnreachableError)  # another try would change nothing


def test_a_session_token_is_sent(store, fake) -> None:
    fake(AWS_SESSION_TOKEN="for-an-hour").check()
    assert store.tokens == ["for-an-hour"]


def test_https_where_the_store_speaks_plain_http_is_named(store, fake) -> None:
    with pytest.raises(StorageUnreachableError, match=r"does not support TLS; see S3_ENDPOINT_URL$"):
        fake(S3_ENDPOINT_URL=store.url.replace("http://", "https://")).check()


@pytest.mark.parametrize(
    ("answer", "says", "may_pass"),
    [
        (error(500, "InternalError"), "answered InternalError", True),
        (error(503, "ServiceUnavailable"), "answered ServiceUnavailable", True),
        (error(429, "SlowDown"), "answered SlowDown", True),
        (error(418, "Teapot"), "answered Teapot", False),
    ],
)
def test_what_may_pass_by_itself_is_told_from_a_refusal(answer, says, may_pass, store, fake, monkeypatch) -> None:
    store.refuse = lambda *_: answer
    with pytest.raises(StorageError) as refusal:
        fake().check()
    assert str(refusal.value).endswith(says)
    assert isinstance(refusal.value, StorageUnreachableError) is may_pass


REFUSES_US = [
    "403",
    "404",
    "AccessDenied",
    "AccountProblem",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "NoSuchBucket",
    "PermanentRedirect",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "SlowDown",
    "TokenRefreshRequired",
]


def refusal(status: int, code: str) -> ClientError:
    answer = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "DeleteObjects")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "holds"),
    [
        (ParamValidationError(report="a key"), True),
        (EndpointConnectionError(endpoint_url="http://a"), False),
        (RecursionError(), False),
        (refusal(399, "Odd"), False),
        (refusal(400, "MalformedXML"), True),
        (refusal(499, "Odd"), True),
        (refusal(500, "InternalError"), False),
        (refusal(501, "NotImplemented"), True),
        (refusal(502, "Odd"), False),
        *((refusal(400, code), False) for code in REFUSES_US),
    ],
)
def test_only_a_refusal_of_the_call_itself_may_be_one_of_its_keys(error, holds) -> None:
    assert is_of_the_call(error) is holds


@pytest.mark.parametrize(("status", "is_redirect"), [(299, False), (300, True), (399, True), (400, False)])
def test_any_answer_that_sends_us_elsewhere_is_a_redirect(status, is_redirect, settings) -> None:
    said = str(explain(refusal(status, "Odd"), settings))
    assert (f"answers with a redirect ({status}); see S3_ENDPOINT_URL" in said) is is_redirect
    assert said.endswith("answered Odd") is not is_redirect
