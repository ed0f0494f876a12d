"""How long a call of the store may take in all. For boto3 it may trickle for ever."""

import os
import time
from functools import partial
from threading import BoundedSemaphore, local
from typing import Any

from botocore.exceptions import ReadTimeoutError

from actors.runtime.base.call import Call

CALL_SECONDS = 30.0
UPLOAD_SECONDS, UPLOAD_BYTES_PER_SECOND = 60.0, 20_000
UPLOADS = ("PutObject", "UploadPart")


def limit_calls(client: Any, *, most: int, seconds: float) -> None:
    """From now on, each call of the client ends within `seconds`, and an upload in a time that fits its size; if
    need be, with a ReadTimeoutError.

    A call that is given up goes on in a thread of its own until the store is done; so at most `most` run at once.
    """
    # All operations go through this, those of paginators too.
    make, free = client._make_api_call, BoundedSemaphore(most)
    thread = local()

    def call(operation: str, parameters: dict[str, Any]) -> Any:
        if hasattr(thread, "calls"):  # boto3 asks where a bucket is while it calls
            return make(operation, parameters)
        ends_at = time.monotonic() + (_upload_seconds(parameters["Body"]) if operation in UPLOADS else seconds)
        late = partial(ReadTimeoutError, endpoint_url=client.meta.endpoint_url)
        if not free.acquire(timeout=ends_at - time.monotonic()):
            raise late()

        def work() -> Any:
            thread.calls = True
            try:
                return make(operation, parameters)
            finally:
                free.release()

        try:
            begun = Call(work, ends_at - time.monotonic(), f"s3 {operation}")
        except BaseException:  # there is no thread for it
            free.release()
            raise
        try:
            return begun.result(lambda: None)
        except TimeoutError:
            raise late() from None

    client._make_api_call = call


def _upload_seconds(body: Any) -> float:
    if isinstance(body, bytes):
        size = len(body)
    else:
        at = body.tell()
        size = body.seek(0, os.SEEK_END) - at
        body.seek(at)
    return UPLOAD_SECONDS + size / UPLOAD_BYTES_PER_SECOND
