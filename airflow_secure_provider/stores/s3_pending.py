"""An S3 object whose bytes are stored and which nobody sees yet: a multipart upload before its last word."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Self

from ..errors import StoreError
from . import s3
from .formats import Readable
from .s3 import S3Location

PART_BYTES = 16 * 1024 * 1024  # 10,000 of them are 160 GB


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
    def begin(
        cls,
        client: Any,
        location: S3Location,
        body: Readable,
        settings: Mapping[str, Any] | None = None,
        first: bytes = b"",
    ) -> Self:
        """Store all of *body*. An error of it leaves nothing behind.

        :param settings: of the object to be: metadata, server-side encryption.
        :param first: what was read of it before, as a part of its own.
        """
        answer = ask(client, location, "CreateMultipartUpload", **(settings or {}))
        pending = cls(location, answer["UploadId"], (), client)
        try:
            parts: list[dict[str, Any]] = []
            part = first or whole_part(body)
            while part:
                given = {"UploadId": pending.upload, "PartNumber": len(parts) + 1, "Body": part}
                tag = ask(client, location, "UploadPart", **given)["ETag"]
                parts.append({"PartNumber": given["PartNumber"], "ETag": tag})
                part = whole_part(body)
            return replace(pending, parts=tuple(parts))
        except BaseException:
            with suppress(StoreError):  # the bucket's lifecycle rule is the net
                pending.abandon()
            raise

    @classmethod
    def find(cls, client: Any, location: S3Location) -> Self | None:
        """The one that was begun last; ``None`` if there is none."""
        uploads = sorted(_uploads(client, location), key=lambda each: each["Initiated"])
        if not uploads:
            return None
        upload = uploads[-1]["UploadId"]
        listed = ask(client, location, "ListParts", UploadId=upload).get("Parts", [])
        parts = tuple({"PartNumber": each["PartNumber"], "ETag": each["ETag"]} for each in listed)
        return cls(location, upload, parts, client)

    @classmethod
    def abandon_all(cls, client: Any, location: S3Location) -> None:
        for each in _uploads(client, location):
            cls(location, each["UploadId"], (), client).abandon()

    def publish(self) -> dict[str, Any]:
        """From now on the object is there. :return: the store's answer."""
        parts = {"Parts": list(self.parts)}
        return ask(
            self.client, self.location, "CompleteMultipartUpload", UploadId=self.upload, MultipartUpload=parts
        )

    def abandon(self) -> None:
        ask(self.client, self.location, "AbortMultipartUpload", UploadId=self.upload)


def _uploads(client: Any, location: S3Location) -> list[dict[str, Any]]:
    answer = s3.call(
        lambda: client.list_multipart_uploads(Bucket=location.bucket, Prefix=location.key),
        location,
        "ListMultipartUploads",
    )
    return [each for each in answer.get("Uploads", []) if each["Key"] == location.key]


def ask(client: Any, location: S3Location, action: str, **given: Any) -> dict[str, Any]:
    """One request about an object. :raises StoreError: with what to do."""
    from botocore import xform_name

    function = getattr(client, xform_name(action))
    answer: dict[str, Any] = s3.call(
        lambda: function(Bucket=location.bucket, Key=location.key, **given), location, action
    )
    return answer


def whole_part(body: Readable) -> bytes:
    """As much as a part holds; less only at the end."""
    pieces, got = [], 0
    while got < PART_BYTES and (piece := body.read(PART_BYTES - got)):
        pieces.append(piece)
        got += len(piece)
    return b"".join(pieces)
