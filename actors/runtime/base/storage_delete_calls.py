"""The calls that delete objects, and a store's responses to them."""

import base64
import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import ClientError

from actors.runtime.base.storage_errors import code_of, is_of_the_call

THREADS = 8
NOT_TRIED = "not tried yet"
GONE = {"NoSuchKey", "NoSuchVersion", "404", "NotFound"}


class DeleteCalls:
    def __init__(self, client: Any, bucket: str, explain: Callable[[Exception], str]) -> None:
        """`explain` turns an error of a whole call into a sentence."""
        self.client, self.bucket, self.explain = client, bucket, explain
        client.meta.events.register("before-sign.s3.DeleteObjects", _add_content_md5)

    def delete_objects(self, objects: list[dict[str, str]]) -> dict[str, str] | None:
        """Key → error, as the store responds; None if it names a key that it was not asked for, or none."""
        answer = self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": objects, "Quiet": True})
        asked = {one["Key"] for one in objects}
        errors = {}
        for entry in answer.get("Errors", []):
            if entry.get("Key") not in asked:
                return None
            if entry.get("Code") not in GONE:
                errors[entry["Key"]] = f"{entry.get('Code', 'Error')}: {entry.get('Message', '')}"
        return errors

    def delete_object(self, key: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=key)

    def said(self, error: ClientError) -> str:
        """The store's error for one key; if it refuses us, what to check."""
        if is_of_the_call(error):
            return f"{code_of(error)}: {error.response.get('Error', {}).get('Message', '')}"
        return self.explain(error)


def each(keys: Iterable[str], delete: Callable[[str], str | None]) -> dict[str, str]:
    """Calls `delete` for each key, several at a time; key → error for those where it returns one."""
    keys = list(keys)
    if not keys:
        return {}
    with ThreadPoolExecutor(min(THREADS, len(keys))) as pool:
        return {key: error for key, error in zip(keys, pool.map(delete, keys), strict=True) if error is not None}


def _add_content_md5(request: Any, **_more: Any) -> None:
    """Older stores require it and know no newer checksum; others ignore it."""
    body = request.data if isinstance(request.data, bytes) else str(request.data or "").encode()
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    request.headers["Content-MD5"] = base64.b64encode(digest).decode()
