"""The environment: what is missing or wrong is named, at once, and no secret is repeated."""

import pytest
from pydantic import ValidationError

from actors.runtime.base.config import QUEUES, DatabaseSettings, Settings, _sentence, load, load_settings
from actors.runtime.base.errors import ConfigError

GOOD = {
    "DATABASE_URL": "postgres://u:hunter2@host/db",
    "S3_BUCKET": "receipts",
    "AWS_ACCESS_KEY_ID": "key-id",
    "AWS_SECRET_ACCESS_KEY": "hunter3",
}
KEY = "A" * 43 + "="
SECRETS = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "CONNECTION_KEYS", "DATABASE_URL"]


def test_what_is_not_set_has_its_default() -> None:
    settings = load_settings(GOOD)
    assert (settings.BATCH_SIZE, settings.THROTTLE_MS, settings.MAX_RUNTIME_SECONDS) == (50, 200, 300)
    assert settings.WORKER_QUEUES == QUEUES
    names = "high,default,low,receipts,receipts_sync,maintenance,recordings,broadcasts"
    assert load_settings({**GOOD, "WORKER_QUEUES": names}) == settings
    assert (settings.AWS_REGION, settings.LOG_FORMAT, settings.RELEASE) == ("us-east-1", "console", "unknown")
    assert (settings.ALLOW_PRIVATE_HOSTS, settings.CONNECTION_KEYS, settings.of_kinds) == (False, (), {})


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load_settings({**GOOD, "BATCH_SIZE": "", "S3_ENDPOINT_URL": ""}).BATCH_SIZE == 50


def test_an_empty_variable_of_one_kind_counts_as_not_set_too() -> None:
    given = {"DELETE_RECEIPTS_BATCH_SIZE": "", "DELETE_RECEIPTS_THROTTLE_MS": "0"}
    assert load_settings({**GOOD, **given}).of_kinds == {"DELETE_RECEIPTS_THROTTLE_MS": "0"}


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DATABASE_URL", "", "DATABASE_URL is not set"),
        ("DATABASE_URL", "mysql://u:hunter2@h/d", "expected postgres://"),
        ("S3_BUCKET", "", "S3_BUCKET is not set"),
        ("S3_ENDPOINT_URL", "localhost:9000", "S3_ENDPOINT_URL: 'localhost:9000'"),
        ("BATCH_SIZE", "fifty", "BATCH_SIZE: 'fifty'"),
        ("BATCH_SIZE", "0", "greater than or equal to 1"),
        ("MAX_RUNTIME_SECONDS", "-1", "MAX_RUNTIME_SECONDS: '-1'"),
        ("LOG_FORMAT", "xml", "LOG_FORMAT: 'xml'"),
        ("WORKER_QUEUES", "maintenance,maintenence", "unknown queue 'maintenence'; the queues are high, default"),
        ("CONNECTION_KEYS", "hunter4", "CONNECTION_KEYS: its value is not usable: expected 32-byte keys"),
        ("WORKER_QUEUES", " , ", "WORKER_QUEUES: ' , ' is not usable: no queue"),
    ],
)
def test_a_wrong_variable_is_named_with_what_was_found_and_expected(name: str, value: str, says: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load_settings({**GOOD, name: value})
    assert says in str(refusal.value)
    assert "hunter" not in str(refusal.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as refusal:
        load_settings({})
    assert str(refusal.value).splitlines() == [
        "DATABASE_URL is not set",
        "S3_BUCKET is not set",
        "AWS_ACCESS_KEY_ID is not set",
        "AWS_SECRET_ACCESS_KEY is not set",
    ]


def test_settings_are_frozen_and_their_repr_holds_no_secret() -> None:
    secret = {"AWS_ACCESS_KEY_ID": "hunter4", "AWS_SESSION_TOKEN": "hunter5", "A_KIND_MS": "hunter6"}
    settings = load_settings({**GOOD, **secret, "CONNECTION_KEYS": KEY})
    with pytest.raises(ValidationError):
        settings.BATCH_SIZE = 1  # type: ignore[misc]
    assert "hunter" not in repr(settings)
    assert KEY not in repr(settings)
    assert type(settings).model_validate(settings.model_dump()) == settings


@pytest.mark.parametrize("name", SECRETS)
def test_what_is_wrong_with_a_secret_is_said_without_it(name) -> None:
    assert _sentence(name, "no", {name: "hunter2"}) == f"{name}: its value is not usable: no"


NUMBERS = [name for name, field in Settings.model_fields.items() if field.annotation in (int, float)]


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_has_a_least_and_a_most(name) -> None:
    for value in ("-1", "10000000000"):
        with pytest.raises(ConfigError, match=f"^{name}: '{value}' is not usable"):
            load_settings({**GOOD, name: value})


def test_changes_per_second_may_be_a_part_of_one_and_not_none() -> None:
    assert load_settings({**GOOD, "CHANGES_PER_SECOND": "0.5"}).CHANGES_PER_SECOND == 0.5
    with pytest.raises(ConfigError, match="CHANGES_PER_SECOND: '0' is not usable"):
        load_settings({**GOOD, "CHANGES_PER_SECOND": "0"})


def test_a_command_that_needs_only_postgres_asks_for_nothing_else() -> None:
    assert load(DatabaseSettings, {"DATABASE_URL": "postgres://h/d"}).DATABASE_URL == "postgres://h/d"


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("S3_ENDPOINT_URL", "http://store:9000/s3/", "http://store:9000/s3"),
        ("S3_ENDPOINT_URL", "https://store", "https://store"),
        ("S3_ENDPOINT_URL", "http://[::1]:9000", "http://[::1]:9000"),
        ("PUBLIC_URL", "https://Example.com:8443/", "https://example.com:8443"),
        ("PUBLIC_URL", "http://localhost", "http://localhost"),
        ("WORKER_QUEUES", " high ,low,", ("high", "low")),
        ("CONNECTION_KEYS", f" {KEY} ,{'-_' + KEY[2:]},", (KEY, "-_" + KEY[2:])),
    ],
)
def test_an_address_a_list_and_a_key_are_read_as_they_are_used(name, value, read) -> None:
    assert getattr(load_settings({**GOOD, name: value}), name) == read


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("S3_ENDPOINT_URL", "ftp://store", "'ftp://store' is not usable: expected http://… or https://…"),
        ("S3_ENDPOINT_URL", "https://", "expected http://host or https://host"),
        ("S3_ENDPOINT_URL", "https://store?hunter5", "its value is not usable: expected http://host or https://host"),
        ("S3_ENDPOINT_URL", "https://store/#hunter5", "its value is not usable: expected http://host or https://host"),
        ("S3_ENDPOINT_URL", "https://u:hunter5@store", "its value is not usable: expected an address without a user"),
        ("S3_ENDPOINT_URL", "https://u:hunter5%40store", "its value is not usable: expected an address without a user"),
        ("S3_ENDPOINT_URL", "https://u:hunter5", "its value is not usable: expected an address without a user"),
        ("S3_ENDPOINT_URL", "ftp://u:hunter5", "its value is not usable: expected http://… or https://…"),
        ("S3_ENDPOINT_URL", "u:hunter5", "its value is not usable: expected http://… or https://…"),
        ("S3_ENDPOINT_URL", "https://u:hunter5℀@store", "its value is not usable: expected an address"),
        ("S3_ENDPOINT_URL", "https://[u:hunter5]/", "its value is not usable: expected an address"),
        ("PUBLIC_URL", "https://u℀:hunter5@store", "its value is not usable: expected an address"),
        ("WORKER_QUEUES", "redis://u:hunter5@host", "its value is not usable: unknown queue; the queues are"),
        ("PUBLIC_URL", "example.com", "expected https://host, with at most a port"),
        ("PUBLIC_URL", "ftp://example.com", "expected https://host"),
        ("PUBLIC_URL", "https://", "expected https://host"),
        ("PUBLIC_URL", "https://u@example.com", "expected https://host"),
        ("PUBLIC_URL", "https://example.com/page", "expected https://host"),
        ("PUBLIC_URL", "https://example.com?a", "expected https://host"),
        ("PUBLIC_URL", "https://example.com#a", "expected https://host"),
        ("CONNECTION_KEYS", KEY[:-4], "expected 32-byte keys"),
        ("CONNECTION_KEYS", "AAAA" + KEY, "expected 32-byte keys"),
        ("CONNECTION_KEYS", KEY.replace("A", "!", 1), "expected 32-byte keys"),
        ("CONNECTION_KEYS", f"{KEY},x", "expected 32-byte keys"),
        ("S3_BUCKET", "ab", "S3_BUCKET: 'ab' is not usable"),
        ("S3_BUCKET", "https://u:hunter5@store", "its value is not usable: expected the bucket's name, not an address"),
        ("S3_BUCKET", "s3://receipts", "'s3://receipts' is not usable: expected the bucket's name, not an address"),
        ("AWS_ACCESS_KEY_ID", "", "AWS_ACCESS_KEY_ID is not set"),
    ],
)
def test_an_address_or_a_key_that_cannot_be_right_is_refused_at_once(name, value, says) -> None:
    with pytest.raises(ConfigError) as refusal:
        load_settings({**GOOD, name: value})
    assert says in str(refusal.value)
    assert "hunter" not in str(refusal.value)


def test_variables_of_kinds_are_told_from_all_others_by_their_names() -> None:
    of_kinds = {"A_KIND_BATCH_SIZE": "7", "X_MS": "1", "A2_FAILURES": "2", "A_ROW": "3", "A_BUSINESS": "4"}
    others = {"PATH": "/bin", "A_KIND_BATCH_SIZES": "7", "a_kind_BATCH_SIZE": "7", "2_MS": "1", "_MS": "1", "SIZE": "9"}
    assert load_settings({**GOOD, **of_kinds, **others}).of_kinds == of_kinds
