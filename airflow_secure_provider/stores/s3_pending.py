"""An S3 object whose bytes are stored and which nobody sees yet: a multipart upload before its last word."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from . import s3
from .formats import Readable
from .s3 import S3Location

_PART_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PendingObject:
    """
    :param parts: as CompleteMultipartUpload wants them.
    """

    location: S3Location
    upload: str
    parts: tuple[dict[str, Any], ...]
    client: Any = field(repr=False)

    @classmethod
    def begin(cls, client: Any, location: S3Location, body: Readable) -> Self:
        """Store all of *body*. An error of it leaves nothing behind."""
        upload = _ask(client, location, "CreateMultipartUpload", "create_multipart_upload")["UploadId"]
        parts: list[dict[str, Any]] = []
        try:
            while part := _part(body):
                number = len(parts) + 1
                answer = _ask(
                    client,
                    location,
                    "UploadPart",
                    "upload_part",
                    UploadId=upload,
                    PartNumber=number,
                    Body=part,
                )
                parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        except BaseException:
            cls(location, upload, (), client).abandon()
            raise
        return cls(location, upload, tuple(parts), client)

    @classmethod
    def find(cls, client: Any, location: S3Location) -> Self | None:
        """The one that was begun last; ``None`` if there is none."""
        uploads = sorted(_uploads(client, location), key=lambda each: each["Initiated"])
        if not uploads:
            return None
        upload = uploads[-1]["UploadId"]
        listed = _ask(client, location, "ListParts", "list_parts", UploadId=upload).get("Parts", [])
        parts = tuple({"PartNumber": each["PartNumber"], "ETag": each["ETag"]} for each in listed)
        return cls(location, upload, parts, client)

    @classmethod
    def abandon_all(cls, client: Any, location: S3Location) -> None:
        for each in _uploads(client, location):
            cls(location, each["UploadId"], (), client).abandon()

    def publish(self) -> None:
        """From now on the object is there."""
        _ask(
            self.client,
            self.location,
            "CompleteMultipartUpload",
            "complete_multipart_upload",
            UploadId=self.upload,
            MultipartUpload={"Parts": list(self.parts)},
        )

    def abandon(self) -> None:
        _ask(
            self.client, self.location, "AbortMultipartUpload", "abort_multipart_upload", UploadId=self.upload
        )


def _uploads(client: Any, location: S3Location) -> list[dict[str, Any]]:
    answer = s3.call(
        lambda: client.list_multipart_uploads(Bucket=location.bucket, Prefix=location.key),
        location,
        "ListMultipartUploads",
    )
    return [each for each in answer.get("Uploads", []) if each["Key"] == location.key]


def _ask(client: Any, location: S3Location, action: str, method: str, **given: Any) -> dict[str, Any]:
    function = getattr(client, method)
    answer: dict[str, Any] = s3.call(
        lambda: function(Bucket=location.bucket, Key=location.key, **given), location, action
    )
    return answer


def _part(body: Readable) -> bytes:
    pieces, got = [], 0
    while got < _PART_BYTES and (piece := body.read(_PART_BYTES - got)):
        pieces.append(piece)
        got += len(piece)
    return b"".join(pieces)
