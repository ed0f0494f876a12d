"""Secrets of connections, encrypted with CONNECTION_KEYS: the newest key encrypts, any key decrypts."""

import json
from collections.abc import Mapping
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from actors.runtime.base.config import Settings
from actors.runtime.base.errors import LonghaulError


class NotConfiguredError(LonghaulError):
    """CONNECTION_KEYS is not set: nothing can be connected."""


class SealedError(LonghaulError):
    """No key decrypts this secret, or it belongs to another business."""


class Vault:
    def __init__(self, settings: Settings) -> None:
        if not settings.CONNECTION_KEYS:
            raise NotConfiguredError("Connections are not configured here: CONNECTION_KEYS is not set")
        self._keys = MultiFernet([Fernet(key) for key in settings.CONNECTION_KEYS])

    def seal(self, business_id: int, secret: Mapping[str, str]) -> bytes:
        return self._keys.encrypt(json.dumps({"business_id": business_id, **secret}).encode())

    def open(self, business_id: int, sealed: bytes) -> dict[str, Any]:
        """SealedError also if the row was moved to another business: a secret names its owner."""
        try:
            secret: dict[str, Any] = json.loads(self._keys.decrypt(bytes(sealed)))
        except InvalidToken:
            raise SealedError("No key of CONNECTION_KEYS opens the secret of this connection") from None
        if secret.pop("business_id") != business_id:
            raise SealedError("The secret of this connection belongs to another business")
        return secret

    def reseal(self, sealed: bytes) -> bytes:
        """The same secret, encrypted with the newest key."""
        try:
            return self._keys.rotate(bytes(sealed))
        except InvalidToken:
            raise SealedError("No key of CONNECTION_KEYS opens the secret of this connection") from None
