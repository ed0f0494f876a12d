"""Secrets of connections: sealed with the newest key, opened with any, and by their own business only."""

import base64
import os

import pytest

from actors.outside.vault import NotConfiguredError, SealedError, Vault


def key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


OLD, NEW = key(), key()


def vault(settings, *keys: str) -> Vault:
    return Vault(settings.model_copy(update={"CONNECTION_KEYS": keys}))


def test_a_secret_that_was_sealed_is_opened_and_cannot_be_read(settings) -> None:
    sealed = vault(settings, NEW).seal(1, {"password": "hunter2"})
    assert b"hunter2" not in sealed
    assert vault(settings, NEW).open(1, sealed) == {"password": "hunter2"}


def test_after_a_rotation_the_old_key_can_go(settings) -> None:
    sealed = vault(settings, OLD).seal(1, {"password": "hunter2"})
    both = vault(settings, NEW, OLD)
    assert both.open(1, sealed) == {"password": "hunter2"}
    assert vault(settings, NEW).open(1, both.reseal(sealed)) == {"password": "hunter2"}


def test_a_secret_without_its_key_is_refused_without_telling_it(settings) -> None:
    sealed = vault(settings, OLD).seal(1, {"password": "hunter2"})
    for attempt in (vault(settings, NEW).reseal, lambda secret: vault(settings, NEW).open(1, secret)):
        with pytest.raises(SealedError, match="No key of CONNECTION_KEYS") as refusal:
            attempt(sealed)
        assert "hunter2" not in str(refusal.value)


def test_a_secret_in_another_business_is_not_opened(settings) -> None:
    sealed = vault(settings, NEW).seal(1, {"password": "hunter2"})
    with pytest.raises(SealedError, match="another business"):
        vault(settings, NEW).open(2, sealed)


def test_without_keys_there_is_no_vault(settings) -> None:
    with pytest.raises(NotConfiguredError):
        vault(settings)
