"""An object that is written in parts: none of them has to be in memory together with another one."""

from typing import Any, TypedDict

from actors.runtime.base.storage import Bucket

PART_BYTES = 5 * 1024 * 1024  # the least that S3 takes for a part that is not the last


class Part(TypedDict):
    PartNumber: int
    ETag: str


class Multipart:
    """An upload of one object. The id and the parts are all that is needed to go on in another process."""

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
        """`number` from 1 on. Uploading it again replaces it."""
        with self._bucket.explained() as client:
            answer = client.upload_part(
                Bucket=self._bucket.name, Key=self.key, UploadId=self.upload_id, PartNumber=number, Body=body
            )
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def complete(self, parts: list[Part]) -> None:
        """The object is there from now on. Completing it again, when the answer was lost, changes nothing."""
        with self._bucket.explained() as client:
            try:
                client.complete_multipart_upload(**self._named(), MultipartUpload={"Parts": parts})
            except client.exceptions.NoSuchUpload:
                client.head_object(Bucket=self._bucket.name, Key=self.key)

    def _named(self) -> dict[str, Any]:
        return {"Bucket": self._bucket.name, "Key": self.key, "UploadId": self.upload_id}
