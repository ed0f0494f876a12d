"""The environment: what is missing or wrong is named, at once, and no secret is repeated."""

import pytest
from pydantic import ValidationError

from actors.runtime.base.config import QUEUES, DatabaseSettings, load, load_settings
from actors.runtime.base.errors import ConfigError

GOOD = {
    "DATABASE_URL": "postgres://u:hunter2@host/db",
    "S3_BUCKET": "receipts",
    "AWS_ACCESS_KEY_ID": "key-id",
    "AWS_SECRET_ACCESS_KEY": "hunter3",
}


def test_what_is_not_set_has_its_default() -> None:
    settings = load_settings(GOOD)
    assert (settings.BATCH_SIZE, settings.THROTTLE_MS, settings.MAX_RUNTIME_SECONDS) == (50, 200, 300)
    assert settings.WORKER_QUEUES == QUEUES


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
    settings = load_settings(GOOD)
    with pytest.raises(ValidationError):
        settings.BATCH_SIZE = 1  # type: ignore[misc]
    assert "hunter" not in repr(settings)


def test_a_command_that_needs_only_postgres_asks_for_nothing_else() -> None:
    assert load(DatabaseSettings, {"DATABASE_URL": "postgres://h/d"}).DATABASE_URL == "postgres://h/d"
