"""How long a call of the store may take in all. For boto3 it may trickle for ever."""

from functools import partial
from threading import BoundedSemaphore, local
from typing import Any

from botocore.exceptions import ReadTimeoutError

from actors.runtime.base.call import Call

CALL_SECONDS = 30.0
UPLOAD_SECONDS = 300.0
UPLOADS = ("PutObject", "UploadPart")


def limit_calls(client: Any, *, most: int, seconds: float) -> None:
    """From now on, each call of the client ends within `seconds` (uploads: UPLOAD_SECONDS), with a ReadTimeoutError.

    A call that is given up goes on in a thread of its own until the store is done; so at most `most` run at once.
    """
    # All operations go through this, those of paginators too.
    make, free = client._make_api_call, BoundedSemaphore(most)
    thread = local()

    def call(operation: str, parameters: dict[str, Any]) -> Any:
        if hasattr(thread, "calls"):  # boto3 asks where a bucket is while it calls
            return make(operation, parameters)
        most_seconds = UPLOAD_SECONDS if operation in UPLOADS else seconds
        late = partial(ReadTimeoutError, endpoint_url=client.meta.endpoint_url)
        if not free.acquire(timeout=most_seconds):
            raise late()

        def work() -> Any:
            thread.calls = True
            try:
                return make(operation, parameters)
            finally:
                free.release()

        try:
            return Call(work, most_seconds, f"s3 {operation}").result(lambda: None)
        except TimeoutError:
            raise late() from None

    client._make_api_call = call
