"""Buckets for one test after the other: an empty one is used again, as making one takes as long as a small test."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from actors.runtime.base.config import load_settings
from actors.runtime.base.storage import Bucket
from service.local import sandbox


class Buckets:
    """Of one store; `environment` reaches it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._free: list[tuple[Bucket, ExitStack]] = []

    @contextmanager
    def one(self) -> Iterator[dict[str, str]]:
        """The variable that names an empty bucket."""
        bucket, end = self._free.pop() if self._free else self._new()
        try:
            yield {"S3_BUCKET": bucket.name}
        finally:
            if self._is_as_new(bucket):
                self._free.append((bucket, end))
            else:
                end.close()

    def close(self) -> None:
        for _, end in self._free:
            end.close()

    def _new(self) -> tuple[Bucket, ExitStack]:
        end = ExitStack()
        named = end.enter_context(sandbox.bucket(self._environment, f"longhaul-test-{secrets.token_hex(4)}"))
        return Bucket(load_settings({**self._environment, **named})), end

    def _is_as_new(self, bucket: Bucket) -> bool:
        try:
            return not bucket.keys()
        except Exception:  # it is gone, or its store is
            return False
