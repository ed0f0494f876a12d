"""Deletes objects from any kind of store, in bulk or one by one.

What a store can do is learned once per process. A key that a store can't take affects no other: the call that it breaks
is narrowed down until the key is alone.
"""

import re
import time
from collections.abc import Iterable, Sequence

import structlog
from botocore.exceptions import ClientError

from actors.runtime.base.storage_delete_calls import NOT_TRIED, DeleteCalls, each
from actors.runtime.base.storage_errors import FAULTS, code_of, is_of_the_call, status_of

log = structlog.get_logger("longhaul.storage")

MAX_KEYS = 1000  # S3's own limit for one DeleteObjects

# Characters that XML 1.0 can't express: such a key goes alone, in the address of its own call.
_NOT_XML = re.compile("[\x00-\x1f\x7f\ufffe\uffff]")


class Deletion:
    """Deletes from one bucket; remembers what its store can't do. Not thread-safe."""

    def __init__(self, calls: DeleteCalls) -> None:
        self._calls = calls
        self._bulk: bool | None = None  # does the store support DeleteObjects? None: not known yet

    def delete(self, keys: Sequence[str], deadline: float) -> dict[str, str]:
        """Key → error for those that still exist; NOT_TRIED if there was no time for one."""
        found = self._delete_together([key for key in keys if not _NOT_XML.search(key)], deadline)
        return found | self._delete_alone([key for key in keys if _NOT_XML.search(key)], deadline)

    def _delete_together(self, keys: list[str], deadline: float) -> dict[str, str]:
        """With DeleteObjects; a refused call is halved until the key that breaks it is alone."""
        if not keys:
            return {}
        if self._bulk is False:
            return self._delete_alone(keys, deadline)
        if time.monotonic() > deadline:
            return dict.fromkeys(keys, NOT_TRIED)
        try:
            found = self._calls.delete_objects([{"Key": key} for key in keys])
        except FAULTS as error:
            if not is_of_the_call(error):
                return dict.fromkeys(keys, self._calls.explain(error))
            return self._narrow_down(keys, error, deadline)
        self._bulk = True
        if found is None:  # the store says that something failed, but not what
            return self._delete_alone(keys, deadline)
        return found

    def _narrow_down(self, keys: list[str], error: Exception, deadline: float) -> dict[str, str]:
        if self._bulk is None and self._has_no_bulk(error):
            log.warning("storage.no_bulk_delete", error=self._calls.explain(error), going_on="key by key")
            self._bulk = False
            return self._delete_alone(keys, deadline)
        if len(keys) == 1:
            return self._delete_alone(keys, deadline)
        half = len(keys) // 2
        return self._delete_together(keys[:half], deadline) | self._delete_together(keys[half:], deadline)

    def _has_no_bulk(self, error: Exception) -> bool:
        """Does the store reject the call itself, rather than one of its keys? A valid key shows it."""
        if isinstance(error, ClientError) and status_of(error) in (405, 501):
            return True
        try:
            return self._calls.delete_objects([{"Key": "longhaul-probe"}]) is None
        except FAULTS as second:
            return is_of_the_call(second)

    def _delete_alone(self, keys: Iterable[str], deadline: float) -> dict[str, str]:
        """One call for each key, several at a time."""

        def delete(key: str) -> str | None:
            if time.monotonic() > deadline:
                return NOT_TRIED
            try:
                self._calls.delete_object(key)
            except ClientError as error:
                return None if code_of(error) in {"NoSuchKey", "NotFound"} else self._calls.said(error)
            except FAULTS as error:
                return self._calls.explain(error)
            return None

        return each(keys, delete)
