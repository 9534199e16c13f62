"""S3 objects: observed, pinned and streamed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigurationError, StoreError, StoreUnavailable
from ..model import AtRest, DatasetRef, Evidence, InTransit
from .tls import transport_of, weaker

log = logging.getLogger(__name__)
INSTRUCTION_SUFFIX = ".instruction"
"""The S3 Encryption Client may keep what it knows of ``KEY`` in ``KEY.instruction``."""
_PAUSES = (0.2, 1.0, 3.0, 9.0)
"""Seconds before a broken read goes on, without a byte in between."""
_TRANSIENT_CODES = frozenset(
    {
        "SlowDown",
        "InternalError",
        "ServiceUnavailable",
        "RequestTimeout",
        "Throttling",
        # The session's credentials; the next try takes new ones from the connection.
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
    }
)
_SCHEMES = {
    "AES256": ("SSE-S3", "AES-256", "aws-s3"),
    "aws:kms": ("SSE-KMS", "AES-256", "aws-kms"),
    "aws:kms:dsse": ("DSSE-KMS", "AES-256, twice", "aws-kms"),
}

SHOWN = frozenset({"SSE-S3", "SSE-KMS", "DSSE-KMS", "SSE-C", "SSE"})
"""What S3 tells of an object that is encrypted so."""


@dataclass(frozen=True, slots=True)
class S3Location:
    """``s3://bucket/key``."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> S3Location:
        """:raises ConfigurationError: for another scheme, or without bucket or key."""
        try:
            split = urlsplit(uri, allow_fragments=False)
        except ValueError:
            raise ConfigurationError(f"{uri!r}: expected s3://bucket/key") from None
        key = split.path.removeprefix("/") + (f"?{split.query}" if split.query else "")
        if split.scheme != "s3" or not split.netloc or not key:
            raise ConfigurationError(f"{uri!r}: expected s3://bucket/key")
        return cls(split.netloc, key)

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class S3Object:
    """One version of an object as the store described it.

    :param version: the VersionId, or ``etag:…`` in a bucket without versions.
    :param size: in bytes, as the store stated it.
    """

    location: S3Location
    version: str
    etag: str
    size: int
    metadata: dict[str, str]
    at_rest: AtRest
    _version_id: str | None = field(default=None, repr=False)
    _customer_key: bytes | None = field(default=None, repr=False)

    @property
    def dataset(self) -> DatasetRef:
        where = self.location
        return DatasetRef(f"s3://{where.bucket}", where.key, where.uri, self.version)


def describe(
    client: Any,
    location: S3Location,
    declared: Mapping[str, AtRest] | None = None,
    customer_key: bytes | None = None,
) -> S3Object:
    """HeadObject, and where it shows no encryption, what the bucket's default says.

    :param declared: what people declared of stores, by dataset namespace (``s3://bucket``). It counts only where S3
        itself shows no encryption, as where a compatible store lies on an encrypted volume, and stays a declaration.
    :param customer_key: the 32 bytes under which SSE-C has it.
    :raises StoreError: if the object is missing or access denied.
    """
    head = call(
        lambda: client.head_object(Bucket=location.bucket, Key=location.key, **_sse_c(customer_key)),
        location,
        "HeadObject",
    )
    version_id = head.get("VersionId")
    version_id = None if version_id in (None, "null") else version_id
    etag = head["ETag"]
    at_rest = observed(head)
    if at_rest.scheme == "none":
        default = _bucket_default(client, location)
        at_rest = replace(at_rest, note=f"HeadObject shows no encryption; bucket default: {default}")
    at_rest = with_declared(at_rest, (declared or {}).get(f"s3://{location.bucket}"), location.uri)
    return S3Object(
        location=location,
        version=version_id or f"etag:{etag.strip(chr(34))}",
        etag=etag,
        size=int(head["ContentLength"]),
        metadata={key.lower(): value for key, value in head.get("Metadata", {}).items()},
        at_rest=at_rest,
        _version_id=version_id,
        _customer_key=customer_key,
    )


def list_objects(client: Any, prefix: str) -> list[str]:
    """URIs of the objects under ``s3://bucket/folder/``, in the order of their keys.

    Without the folder's own marker, and without the S3 Encryption Client's instruction files of objects that are there.
    """
    location = S3Location.parse(prefix)

    def ask() -> list[str]:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=location.bucket, Prefix=location.key)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    keys = set(call(ask, location, "ListObjectsV2"))
    beside = {key + INSTRUCTION_SUFFIX for key in keys}
    return [f"s3://{location.bucket}/{key}" for key in sorted(keys - beside) if not key.endswith("/")]


def metadata(client: Any, location: S3Location) -> dict[str, str] | None:
    """The user metadata of an object; ``None`` if it is not there, or may not be looked at."""
    from botocore.exceptions import ClientError

    def head() -> Any:
        try:
            return client.head_object(Bucket=location.bucket, Key=location.key)
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (403, 404):
                return None
            raise

    answer = call(head, location, "HeadObject")
    if answer is None:
        return None
    return {key.lower(): value for key, value in answer.get("Metadata", {}).items()}


def open_body(client: Any, described: S3Object) -> tuple[Any, InTransit]:
    """Start reading exactly the object that was described; and how the connection is protected.

    :return: the body, whose ``read`` raises only our errors and goes on where a connection broke, and the transport as the
        socket tells it.
    """
    where = described.location
    pin: dict[str, Any] = {"VersionId": described._version_id} if described._version_id else {}
    pin |= _sse_c(described._customer_key)

    def ask(offset: int) -> Any:
        part = {"Range": f"bytes={offset}-"} if offset else {}
        answer = call(
            lambda: client.get_object(
                Bucket=where.bucket, Key=where.key, IfMatch=described.etag, **pin, **part
            ),
            where,
            "GetObject",
        )
        begins = str(answer.get("ContentRange", "bytes 0-")).removeprefix("bytes ").partition("-")[0]
        if begins != str(offset):
            raise StoreUnavailable(f"{where.uri}: S3 gives byte {begins} where byte {offset:,} was asked for")
        return answer["Body"]

    body = ask(0)
    return _Body(body, where, ask), _transport(body)


def _sse_c(key: bytes | None) -> dict[str, Any]:
    return {} if key is None else {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": key}


def read_small(client: Any, uri: str, limit_bytes: int = 1024 * 1024) -> bytes:
    """A whole small object, such as a contract or a keyset. Who could change it on its way decides what is protected."""
    location = S3Location.parse(uri)
    if str(client.meta.endpoint_url).startswith("http://"):
        raise ConfigurationError(f"{uri} would be read over plaintext http; use an https endpoint")
    answer = call(lambda: client.get_object(Bucket=location.bucket, Key=location.key), location, "GetObject")
    body = _Body(answer["Body"], location)
    try:
        content = body.read(limit_bytes + 1)
    finally:
        body.close()
    if len(content) > limit_bytes:
        raise StoreError(f"{uri} is larger than {limit_bytes:,} bytes; is it the right object?")
    return content


class _Body:
    """A body whose network failures are ours: it goes on where the connection broke, and gives up in the end.

    :param ask: gives the body from an offset on; ``None`` if it can't be asked for again.
    """

    def __init__(self, body: Any, location: S3Location, ask: Callable[[int], Any] | None = None) -> None:
        self._body = body
        self._location = location
        self._ask = ask
        self._first = _transport(body)
        self._got = 0
        self._tries = 0
        self._closed = False

    def read(self, size: int, /) -> bytes:
        from botocore.exceptions import BotoCoreError, HTTPClientError
        from urllib3.exceptions import HTTPError

        while True:
            failure = ""
            try:
                piece: bytes = self._body.read(size)
            except (BotoCoreError, HTTPClientError, HTTPError, OSError) as error:
                failure = type(error).__name__
            except (
                ValueError,
                AttributeError,
            ) as error:  # what a body says that was closed by another thread
                if not self._closed:
                    raise
                failure = type(error).__name__
            if not failure:
                self._got += len(piece)
                self._tries = 0 if piece else self._tries
                return piece
            self._go_on(failure)

    def close(self) -> None:
        self._closed = True
        self._body.close()

    def _go_on(self, failure: str) -> None:
        """Ask for the rest, after a while.

        :raises StoreUnavailable: when it has been tried often enough without a byte.
        """
        said = f"{self._location.uri}: the connection to S3 broke after {self._got:,} bytes ({failure})"
        if self._closed or self._ask is None or self._tries >= len(_PAUSES):
            raise StoreUnavailable(f"{said}; nothing was committed")
        pause = _PAUSES[self._tries]
        self._tries += 1
        log.warning("%s; going on there in %.1f s", said, pause)
        time.sleep(pause)
        self._body.close()
        try:
            self._body = self._ask(self._got)
        except StoreUnavailable:
            return  # the broken body fails again, and the next pause is longer
        if weaker(self._first, _transport(self._body)) != self._first:
            raise StoreError(f"{said}, and the new one is less protected; nothing was committed")


def _transport(body: Any) -> InTransit:
    answer = getattr(body, "_raw_stream", None)
    return transport_of(getattr(answer, "connection", None), answer)


def observed(head: Mapping[str, Any]) -> AtRest:
    """How an object is encrypted, by the store's answer to a request for it."""
    if head.get("SSECustomerAlgorithm"):
        return AtRest(
            "SSE-C",
            head["SSECustomerAlgorithm"],
            "customer",
            head.get("SSECustomerKeyMD5"),
            Evidence.OBSERVED,
        )
    named = head.get("ServerSideEncryption")
    if named in _SCHEMES:
        scheme, algorithm, provider = _SCHEMES[named]
        return AtRest(scheme, algorithm, provider, head.get("SSEKMSKeyId"), Evidence.OBSERVED)
    if named:
        return AtRest(note=f"ServerSideEncryption {named!r} is not known to this version")
    return AtRest("none", evidence=Evidence.OBSERVED, note="S3 shows no encryption")


def with_declared(
    observed: AtRest, declared: AtRest | None, where: str, shown: frozenset[str] = SHOWN
) -> AtRest:
    """What a store shows, held against what people declared of it.

    A declaration fills in what the store can't show, such as the encryption of the volume below one that is compatible with S3.
    What it would show and does not is a contradiction: it counts as not encrypted, and is warned of.

    :param shown: the schemes that the store tells of an object that is encrypted so.
    """
    if declared is None:
        return observed
    other_key = (
        declared.key_id is not None and observed.key_id is not None and declared.key_id != observed.key_id
    )
    as_declared = declared.scheme == observed.scheme or (declared.scheme == "SSE" and observed.encrypted)
    if declared.scheme in shown and (other_key or not as_declared):
        note = (
            f"declared {declared.scheme} {declared.key_id or ''}".strip()
            + f", observed {observed.scheme}"
            + (f" {observed.key_id}" if other_key else "")
        )
        log.warning("%s: %s", where, note)
        return replace(observed, evidence=Evidence.CONTRADICTED, note=note)
    if observed.encrypted:
        return observed
    notes = [note for note in (declared.note, observed.note) if note]
    return replace(declared, note="; ".join(notes))


def _bucket_default(client: Any, location: S3Location) -> str:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer = client.get_bucket_encryption(Bucket=location.bucket)
        rule = answer["ServerSideEncryptionConfiguration"]["Rules"][0]
        return str(rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"])
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        return (
            "none" if code == "ServerSideEncryptionConfigurationNotFoundError" else f"not readable ({code})"
        )
    except (BotoCoreError, KeyError, IndexError) as error:
        return f"not readable ({type(error).__name__})"


def call(call: Callable[[], Any], location: S3Location, action: str) -> Any:
    """Ask S3. :raises StoreError: or StoreUnavailable, with what to do."""
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        ParamValidationError,
        PartialCredentialsError,
    )

    try:
        return call()
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "unknown"))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _TRANSIENT_CODES or status >= 500:
            raise StoreUnavailable(f"{location.uri}: {action} answered {code}; it may work later") from None
        raise StoreError(f"{location.uri}: {action} answered {code}; {_remedy(code)}") from None
    except (NoCredentialsError, PartialCredentialsError, ParamValidationError) as error:
        raise StoreError(
            f"{location.uri}: {action} failed with {type(error).__name__}; check the name and the credentials of the "
            "AWS connection"
        ) from None
    except BotoCoreError as error:
        raise StoreUnavailable(
            f"{location.uri}: {action} failed with {type(error).__name__}; "
            "check endpoint, CA and credentials of the AWS connection"
        ) from None


def _remedy(code: str) -> str:
    if code in ("404", "NoSuchKey", "NotFound"):
        return "there is no such object: check bucket and key, and the date in it"
    if code == "NoSuchBucket":
        return "there is no such bucket"
    if code in ("403", "AccessDenied"):
        return "allow s3:GetObject (and kms:Decrypt for SSE-KMS) to the principal of the AWS connection"
    if code in ("400", "BadRequest", "InvalidRequest"):
        return "it may be under SSE-C, and then needs its key: sse_customer_key_conn_id="
    if code in ("412", "PreconditionFailed"):
        return "the object was overwritten while this task read it: run it again"
    return "see the S3 documentation of this code"
