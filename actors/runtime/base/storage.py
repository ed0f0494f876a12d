"""The bucket, in our words. "Not found" is an answer, not an error."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from actors.runtime.base.config import Settings
from actors.runtime.base.storage_delete_calls import NOT_TRIED
from actors.runtime.base.storage_deletion import MAX_KEYS
from actors.runtime.base.storage_errors import explain
from actors.runtime.base.storage_limits import CALL_SECONDS, limit_calls
from actors.runtime.base.storage_versions import Versions

__all__ = ["MAX_KEYS", "NOT_TRIED", "Bucket"]

FAULTS = (ClientError, BotoCoreError, RecursionError)  # the last if a store redirects: botocore follows forever


class Bucket:
    """One bucket of one store. Call nothing here while a transaction is open."""

    def __init__(self, settings: Settings) -> None:
        self.name = settings.S3_BUCKET
        self._settings = settings
        self._connecting = Lock()

    @property
    def _client(self) -> Any:
        with self._connecting:  # boto3 can only make one client at a time; threads can share it
            return self._only_client

    @cached_property
    def _only_client(self) -> Any:
        return self._connect(read_timeout=10, attempts=2, call_seconds=CALL_SECONDS)

    @cached_property
    def _versions(self) -> Versions:
        """With what this process has learned about how the store deletes."""
        return Versions(self._client, self.name, lambda error: str(explain(error, self._settings)))

    def _connect(self, *, read_timeout: float, attempts: int, call_seconds: float) -> Any:
        settings = self._settings
        at_once = max(settings.WORKER_THREADS, 8)
        with self._explained():
            client = boto3.client(
                "s3",
                endpoint_url=settings.S3_ENDPOINT_URL,
                aws_access_key_id=settings.AWS_ACCESS_KEY_ID,
                aws_secret_access_key=settings.AWS_SECRET_ACCESS_KEY,
                aws_session_token=settings.AWS_SESSION_TOKEN,
                region_name=settings.AWS_REGION,
                config=Config(
                    connect_timeout=3,
                    read_timeout=read_timeout,
                    retries={"mode": "standard", "total_max_attempts": attempts},
                    signature_version="s3v4",  # of links too, for which boto3's own choice is refused by most stores
                    max_pool_connections=at_once,
                    request_checksum_calculation="when_required",  # older stores and R2 refuse the newer trailers
                    response_checksum_validation="when_required",
                ),
            )
        limit_calls(client, most=2 * at_once, seconds=call_seconds)
        return client

    def check(self) -> None:
        """StorageError if the bucket does not exist, refuses us or cannot be reached.

        Called while a worker boots, and its jobs may have no other: so it has 5 s and one try. It lists the bucket
        because the response to a HEAD has no body that says what is wrong.
        """
        with self._explained():
            self._connect(read_timeout=3, attempts=1, call_seconds=5).list_objects_v2(Bucket=self.name, MaxKeys=1)

    def create(self) -> None:
        self._client.create_bucket(Bucket=self.name)

    def drop(self) -> None:
        """Deletes the bucket and everything in it."""
        while keys := self.keys():
            self.delete(keys)
        self._client.delete_bucket(Bucket=self.name)

    def put(self, key: str, file: Path | BinaryIO, content_type: str) -> int:
        """Uploads a file; returns its size in bytes. StorageError if it did not arrive."""
        with file.open("rb") if isinstance(file, Path) else nullcontext(file) as body:
            with self._explained():
                self._client.put_object(Bucket=self.name, Key=key, Body=body, ContentType=content_type)
            return body.seek(0, os.SEEK_END)

    def link(self, key: str, filename: str, seconds: int, *, inline: bool = False) -> str:
        """An address where anybody can read the object for `seconds`; browsers save it as `filename`, or show it."""
        kept = "".join(
            letter for letter in filename if letter.isascii() and letter.isprintable() and letter not in '"\\'
        )
        with self._explained():
            address: str = self._client.generate_presigned_url(
                "get_object",
                Params={
                    "Bucket": self.name,
                    "Key": key,
                    "ResponseContentDisposition": f'{"inline" if inline else "attachment"}; filename="{kept}"',
                },
                ExpiresIn=seconds,
            )
        return address

    def keys(self) -> list[str]:
        """The first 1000 keys in the bucket."""
        listing = self._client.list_objects_v2(Bucket=self.name, MaxKeys=MAX_KEYS)
        return [entry["Key"] for entry in listing.get("Contents", [])]

    def delete(self, keys: Sequence[str]) -> dict[str, str]:
        """Deletes up to 1000 objects; returns key → error for those that still exist.

        An object that did not exist counts as deleted. NOT_TRIED is the error if there was no time for one.
        """
        return self._versions.delete(keys)

    def kept_versions(self) -> str | None:
        """Why earlier versions of deleted objects stay in the store; None if they don't."""
        return self._versions.kept_versions

    @contextmanager
    def explained(self) -> Iterator[Any]:
        """boto3's client; its errors become a StorageError with a sentence."""
        client = self._client
        with self._explained():
            yield client

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (*FAULTS, ValueError) as error:  # the last for an endpoint that boto3 can't read
            raise explain(error, self._settings) from None
