"""Deleting objects, whatever kind of store it is: many at a time or one by one, with their versions or without.

What a store can do is learned once per process. One key that a store can't take costs itself: the call that it spoils
is narrowed down until it is alone.
"""

import base64
import hashlib
import re
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from actors.runtime.base.storage_errors import code_of, status_of

log = structlog.get_logger("longhaul.storage")

MAX_KEYS = 1000  # S3's own limit for one DeleteObjects
MAX_SECONDS = 25  # of one round; a lease is longer, and a call that has begun may take its time on top
NOT_TRIED = "not tried yet"
THREADS = 8
ASK_AGAIN_SECONDS = 300

FAULTS = (ClientError, BotoCoreError, RecursionError)
# Refusals of us or of the bucket, which no other way of asking would change.
FINAL = {"403", "404", "AccessDenied", "NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken",
         "InvalidToken", "TokenRefreshRequired", "RequestTimeTooSkewed", "PermanentRedirect", "SlowDown",
         "AuthorizationHeaderMalformed", "AllAccessDisabled", "AccountProblem"}  # fmt: skip
GONE = {"NoSuchKey", "NoSuchVersion", "404", "NotFound"}

# What XML 1.0 has no way to write: such a key goes alone, in the address of its own call.
_NOT_XML = re.compile("[\x00-\x1f\x7f\ufffe\uffff]")


class Deletion:
    """Deletes from one bucket; remembers what its store can't do. Not for several threads at once."""

    def __init__(self, client: Any, bucket: str, explain: Callable[[Exception], str]) -> None:
        """`explain` puts an error of a whole call into a sentence."""
        self._client, self._bucket, self._explain = client, bucket, explain
        self._bulk: bool | None = None  # does the store have DeleteObjects? None: not known yet
        self._versioned: bool | None = None
        self._may_not_ask = False
        self._asked = 0.0
        self.kept_versions: str | None = None
        client.meta.events.register("before-sign.s3.DeleteObjects", _add_content_md5)

    def delete(self, keys: Sequence[str]) -> dict[str, str]:
        """Key → error for those that are still there; NOT_TRIED for those that there was no time for."""
        deadline = time.monotonic() + MAX_SECONDS
        errors = dict.fromkeys((key for key in keys if not _fits(key)), "no store has keys like that: 1 to 1024 bytes")
        keys = [key for key in keys if key not in errors]
        try:
            versioned = self._is_versioned()
        except FAULTS as error:
            return errors | dict.fromkeys(keys, self._explain(error))
        if versioned:
            found = self._delete_versions(keys, deadline)
            if self.kept_versions is None:
                return errors | found
        found = self._delete_together([key for key in keys if not _NOT_XML.search(key)], deadline)
        found |= self._delete_alone([key for key in keys if _NOT_XML.search(key)], deadline)
        if self._may_not_ask and len(found) < len(keys):  # our keys are good, but not for that
            self._keep("our keys may not ask whether it does (s3:GetBucketVersioning)")
        return errors | found

    def _delete_together(self, keys: list[str], deadline: float) -> dict[str, str]:
        """By DeleteObjects; a call that is refused is halved until the key that spoils it is alone."""
        if not keys:
            return {}
        if self._bulk is False:
            return self._delete_alone(keys, deadline)
        if time.monotonic() > deadline:
            return dict.fromkeys(keys, NOT_TRIED)
        try:
            found = self._delete_objects([{"Key": key} for key in keys])
        except FAULTS as error:
            if not _is_of_the_call(error):
                return dict.fromkeys(keys, self._explain(error))
            return self._narrow_down(keys, error, deadline)
        self._bulk = True
        if found is None:  # it says that something failed, but not what
            return self._delete_alone(keys, deadline)
        return found

    def _narrow_down(self, keys: list[str], error: Exception, deadline: float) -> dict[str, str]:
        if self._bulk is None and self._has_no_bulk(error):
            log.warning("storage.no_bulk_delete", error=self._explain(error), going_on="key by key")
            self._bulk = False
            return self._delete_alone(keys, deadline)
        if len(keys) == 1:
            return self._delete_alone(keys, deadline)
        half = len(keys) // 2
        return self._delete_together(keys[:half], deadline) | self._delete_together(keys[half:], deadline)

    def _has_no_bulk(self, error: Exception) -> bool:
        """Is it the call that this store does not take, rather than one of its keys? A key that is fine tells."""
        if isinstance(error, ClientError) and status_of(error) in (405, 501):
            return True
        try:
            return self._delete_objects([{"Key": "longhaul-probe"}]) is None
        except FAULTS as second:
            return _is_of_the_call(second)

    def _delete_objects(self, objects: list[dict[str, str]]) -> dict[str, str] | None:
        """Key → error, as the store answers; None when it names something that it was not asked for, or nothing."""
        answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})
        asked = {one["Key"] for one in objects}
        errors = {}
        for entry in answer.get("Errors", []):
            if entry.get("Key") not in asked:
                return None
            if entry.get("Code") not in GONE:
                errors[entry["Key"]] = f"{entry.get('Code', 'Error')}: {entry.get('Message', '')}"
        return errors

    def _delete_alone(self, keys: Iterable[str], deadline: float) -> dict[str, str]:
        """One call for each key, some at a time."""

        def delete(key: str) -> str | None:
            if time.monotonic() > deadline:
                return NOT_TRIED
            try:
                self._client.delete_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                return None if code_of(error) in {"NoSuchKey", "NotFound"} else self._said(error)
            except FAULTS as error:
                return self._explain(error)
            return None

        keys = list(keys)
        if not keys:
            return {}
        with ThreadPoolExecutor(min(THREADS, len(keys))) as pool:
            return {key: error for key, error in zip(keys, pool.map(delete, keys), strict=True) if error is not None}

    def _said(self, error: ClientError) -> str:
        """What the store says of one key; of its refusal of us, what to look at."""
        if _is_of_the_call(error):
            return f"{code_of(error)}: {error.response.get('Error', {}).get('Message', '')}"
        return self._explain(error)

    # Versions

    def _is_versioned(self) -> bool:
        """Does the bucket keep what is deleted? Asked until there is an answer. Raises when it may have one later."""
        if not self._versioned and time.monotonic() > self._asked + ASK_AGAIN_SECONDS:
            self._versioned = None  # somebody may have switched it on
        if self._versioned is None and self.kept_versions is None:
            self._asked = time.monotonic()
            self._may_not_ask = False
            try:
                status = self._client.get_bucket_versioning(Bucket=self._bucket).get("Status")
                self._versioned = status in ("Enabled", "Suspended")
            except ClientError as error:
                if code_of(error) in ("AccessDenied", "403"):
                    self._may_not_ask = True
                elif _is_of_the_call(error):
                    self._versioned = False  # it knows no versions
                else:
                    raise
        return bool(self._versioned) and self.kept_versions is None

    def _keep(self, why: str) -> None:
        self.kept_versions = why
        log.warning("storage.versions_kept", bucket=self._bucket, why=why)

    def _delete_versions(self, keys: list[str], deadline: float) -> dict[str, str]:
        """All versions and marks of these keys; key → error for those of which one stays."""

        def delete(key: str) -> str | None:
            if time.monotonic() > deadline:
                return NOT_TRIED
            try:
                for versions in self._versions(key):
                    errors = self._delete_objects(versions)
                    if errors is None or errors:
                        said = next(iter((errors or {}).values()), "the store did not say what failed")
                        return f"a version stays ({'object lock, or ' if 'AccessDenied' in said else ''}{said})"
            except ClientError as error:
                if code_of(error) in ("AccessDenied", "403", "NotImplemented", "MethodNotAllowed"):
                    self._keep(f"the store does not list versions to us ({code_of(error)}; s3:ListBucketVersions)")
                    return None
                return self._said(error)
            except FAULTS as error:
                return self._explain(error)
            return None

        if not keys:
            return {}
        with ThreadPoolExecutor(min(THREADS, len(keys))) as pool:
            return {key: error for key, error in zip(keys, pool.map(delete, keys), strict=True) if error is not None}

    def _versions(self, key: str) -> Iterable[list[dict[str, str]]]:
        """The versions and delete marks of exactly this key, by pages."""
        for page in self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=key):
            entries = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            found = [{"Key": key, "VersionId": entry["VersionId"]} for entry in entries if entry["Key"] == key]
            if found:
                yield found
            if entries and all(entry["Key"] > key for entry in entries):
                return


def _fits(key: str) -> bool:
    return 1 <= len(key.encode("utf-8", "surrogatepass")) <= 1024


def _is_of_the_call(error: BaseException) -> bool:
    """Did the store refuse what was asked, so that asking for less may work? Not us, not the bucket, not for now."""
    if not isinstance(error, ClientError):
        return not isinstance(error, RecursionError) and type(error).__name__ == "ParamValidationError"
    status = status_of(error)
    return code_of(error) not in FINAL and (400 <= status < 500 or status == 501)


def _add_content_md5(request: Any, **_more: Any) -> None:
    """Older stores want it and know no newer checksum; the others don't mind."""
    body = request.data if isinstance(request.data, bytes) else str(request.data or "").encode()
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    request.headers["Content-MD5"] = base64.b64encode(digest).decode()
