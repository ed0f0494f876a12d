"""An object that is written in parts: only one part at a time needs to be in memory."""

from typing import Any, TypedDict

from actors.runtime.base.storage import Bucket

PART_BYTES = 5 * 1024 * 1024  # S3's minimum for all parts but the last


class Part(TypedDict):
    PartNumber: int
    ETag: str


class Multipart:
    """An upload of one object. Another process can continue it with just the id and the parts."""

    def __init__(self, bucket: Bucket, key: str, upload_id: str) -> None:
        self._bucket = bucket
        self.key = key
        self.upload_id = upload_id

    @classmethod
    def begin(cls, bucket: Bucket, key: str, content_type: str) -> "Multipart":
        with bucket.explained() as client:
            answer = client.create_multipart_upload(Bucket=bucket.name, Key=key, ContentType=content_type)
        return cls(bucket, key, answer["UploadId"])

    def upload(self, number: int, body: bytes) -> Part:
        """`number` starts at 1. Uploading a part again replaces it."""
        with self._bucket.explained() as client:
            answer = client.upload_part(
                Bucket=self._bucket.name, Key=self.key, UploadId=self.upload_id, PartNumber=number, Body=body
            )
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def complete(self, parts: list[Part]) -> None:
        """From now on the object exists. Completing it again, because the response was lost, changes nothing."""
        with self._bucket.explained() as client:
            try:
                client.complete_multipart_upload(**self._named(), MultipartUpload={"Parts": parts})
            except client.exceptions.NoSuchUpload:
                client.head_object(Bucket=self._bucket.name, Key=self.key)

    def _named(self) -> dict[str, Any]:
        return {"Bucket": self._bucket.name, "Key": self.key, "UploadId": self.upload_id}
