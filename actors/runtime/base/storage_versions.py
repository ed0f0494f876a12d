"""Deletes objects with their earlier versions: finds out first whether the bucket keeps any."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import structlog
from botocore.exceptions import ClientError

from actors.runtime.base.storage_delete_calls import NOT_TRIED, DeleteCalls, each
from actors.runtime.base.storage_deletion import Deletion
from actors.runtime.base.storage_errors import FAULTS, code_of, is_of_the_call

log = structlog.get_logger("longhaul.storage")

MAX_SECONDS = 25  # of one round; a lease is longer, because a call that has begun may still take time
ASK_AGAIN_SECONDS = 300


class Versions:
    """What is deleted from a bucket, with its versions; remembers what its store doesn't allow. Not thread-safe."""

    def __init__(self, client: Any, bucket: str, explain: Callable[[Exception], str]) -> None:
        """`explain` turns an error of a whole call into a sentence."""
        self._calls = DeleteCalls(client, bucket, explain)
        self._deletion = Deletion(self._calls)  # without versions
        self._there: bool | None = None  # does the bucket have versions? None: not known yet
        self._asked = 0.0
        self._may_not_ask = False
        self.kept_versions: str | None = None  # why they are not deleted; None if they are, as far as we know

    def delete(self, keys: Sequence[str]) -> dict[str, str]:
        """Key → error for those that still exist; NOT_TRIED if there was no time for one."""
        deadline = time.monotonic() + MAX_SECONDS
        errors = dict.fromkeys((key for key in keys if not _fits(key)), "expected a key of 1 to 1024 bytes")
        keys = [key for key in keys if key not in errors]
        try:
            if self._deletable():
                found = self._delete_versions(keys, deadline)
                if self.kept_versions is None:
                    return errors | found
        except FAULTS as error:
            return errors | dict.fromkeys(keys, self._calls.explain(error))
        found = self._deletion.delete(keys, deadline)
        if self._may_not_ask and len(found) < len(keys):  # our keys are valid, but lack that right
            self._keep("our keys may not ask whether it does (s3:GetBucketVersioning)")
        return errors | found

    def _deletable(self) -> bool:
        """Does the bucket keep versions that we may delete?

        Asks until the store answers; raises if it may answer later.
        """
        if not self._there and time.monotonic() > self._asked + ASK_AGAIN_SECONDS:
            self._there = None  # versioning may have been switched on
        if self._there is None and self.kept_versions is None:
            self._asked = time.monotonic()
            self._may_not_ask = False
            try:
                status = self._calls.client.get_bucket_versioning(Bucket=self._calls.bucket).get("Status")
                self._there = status in ("Enabled", "Suspended")
            except ClientError as error:
                if code_of(error) in ("AccessDenied", "403"):
                    self._may_not_ask = True
                elif is_of_the_call(error):
                    self._there = False  # it does not support versions
                else:
                    raise
        return bool(self._there) and self.kept_versions is None

    def _keep(self, why: str) -> None:
        self.kept_versions = why
        log.warning("storage.versions_kept", bucket=self._calls.bucket, why=why)

    def _delete_versions(self, keys: list[str], deadline: float) -> dict[str, str]:
        """Deletes all versions and delete markers of these keys; key → error for those with one left."""

        def delete_one(key: str) -> str | None:
            if time.monotonic() > deadline:
                return NOT_TRIED
            try:
                for versions in self._of(key):
                    errors = self._calls.delete_objects(versions)
                    if errors is None or errors:
                        said = next(iter((errors or {}).values()), "the store did not say what failed")
                        return f"a version stays ({'object lock, or ' if 'AccessDenied' in said else ''}{said})"
            except ClientError as error:
                if code_of(error) in ("AccessDenied", "403", "NotImplemented", "MethodNotAllowed"):
                    self._keep(f"the store does not let us list versions ({code_of(error)}; s3:ListBucketVersions)")
                    return None
                return self._calls.said(error)
            except FAULTS as error:
                return self._calls.explain(error)
            return None

        return each(keys, delete_one)

    def _of(self, key: str) -> Iterable[list[dict[str, str]]]:
        """The versions and delete markers of exactly this key, by pages."""
        paginator = self._calls.client.get_paginator("list_object_versions")
        for page in paginator.paginate(Bucket=self._calls.bucket, Prefix=key):
            entries = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            found = [{"Key": key, "VersionId": entry["VersionId"]} for entry in entries if entry["Key"] == key]
            if found:
                yield found
            if entries and all(entry["Key"] > key for entry in entries):
                return


def _fits(key: str) -> bool:
    return 1 <= len(key.encode("utf-8", "surrogatepass")) <= 1024
