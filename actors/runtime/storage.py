"""The bucket, in our words. "Not there" is an answer, not an error."""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from actors.runtime.config import Settings
from actors.runtime.errors import StorageError, StorageUnreachableError

MAX_KEYS = 1000  # S3's own limit for one DeleteObjects


class Bucket:
    def __init__(self, settings: Settings) -> None:
        self.name = settings.S3_BUCKET
        self._settings = settings
        self._connecting = Lock()

    @property
    def _client(self) -> Any:
        with self._connecting:  # boto3 makes clients in one thread at a time; all threads may use one
            return self._only_client

    @cached_property
    def _only_client(self) -> Any:
        return self._connect(read_timeout=10, attempts=2)  # 2 x 13 s: a call ends within 30 s

    def _connect(self, *, read_timeout: float, attempts: int) -> Any:
        settings = self._settings
        return boto3.client(
            "s3",
            endpoint_url=settings.S3_ENDPOINT_URL,
            aws_access_key_id=settings.AWS_ACCESS_KEY_ID,
            aws_secret_access_key=settings.AWS_SECRET_ACCESS_KEY,
            region_name=settings.AWS_REGION,
            config=Config(
                connect_timeout=3,
                read_timeout=read_timeout,
                retries={"mode": "standard", "total_max_attempts": attempts},
                max_pool_connections=max(settings.WORKER_THREADS, 8),
                request_checksum_calculation="when_required",  # older stores and R2 refuse the newer trailers
                response_checksum_validation="when_required",
            ),
        )

    def check(self) -> None:
        """StorageError when the bucket does not exist, refuses us or cannot be reached.

        Asked while somebody waits (a worker boots, and jobs have nobody else): so it has 3 s and one try.
        """
        try:
            self._connect(read_timeout=3, attempts=1).head_bucket(Bucket=self.name)
        except (ClientError, BotoCoreError) as error:
            raise self._explained(error) from None

    def create(self) -> None:
        self._client.create_bucket(Bucket=self.name)

    def drop(self) -> None:
        """Deletes the bucket with all that is in it."""
        while keys := self.keys():
            self.delete(keys)
        self._client.delete_bucket(Bucket=self.name)

    def put(self, key: str, file: Path | BinaryIO, content_type: str) -> int:
        """Uploads a file; returns its size in bytes. StorageError when it did not arrive."""
        with file.open("rb") if isinstance(file, Path) else nullcontext(file) as body:
            try:
                self._client.put_object(Bucket=self.name, Key=key, Body=body, ContentType=content_type)
            except (ClientError, BotoCoreError) as error:
                raise self._explained(error) from None
            return body.seek(0, os.SEEK_END)

    def keys(self) -> list[str]:
        """The first 1000 keys in the bucket."""
        listing = self._client.list_objects_v2(Bucket=self.name, MaxKeys=MAX_KEYS)
        return [entry["Key"] for entry in listing.get("Contents", [])]

    def delete(self, keys: Sequence[str]) -> dict[str, str]:
        """Deletes up to 1000 objects; returns key → error for those that are still there.

        An object that was not there is deleted. When the whole call fails, every key carries that error.
        """
        try:
            answer = self._client.delete_objects(
                Bucket=self.name, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
            )
        except (ClientError, BotoCoreError) as error:
            return dict.fromkeys(keys, str(self._explained(error)))
        return {
            entry["Key"]: f"{entry.get('Code', 'Error')}: {entry.get('Message', '')}"
            for entry in answer.get("Errors", [])
            if entry.get("Code") != "NoSuchKey"
        }

    def _explained(self, error: Exception) -> StorageError:
        where = f"bucket {self.name!r} at {self._settings.S3_ENDPOINT_URL or 'AWS'}"
        if not isinstance(error, ClientError):
            return StorageUnreachableError(f"{where} cannot be reached ({type(error).__name__}); see S3_ENDPOINT_URL")
        code = str(error.response.get("Error", {}).get("Code", "unknown"))
        if code in ("404", "NoSuchBucket"):
            return StorageError(f"{where} does not exist; see S3_BUCKET")
        if code in ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
            return StorageError(
                f"{where} refuses our credentials ({code}); see AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
            return StorageUnreachableError(f"{where} answered {code}")
        return StorageError(f"{where} answered {code}")
