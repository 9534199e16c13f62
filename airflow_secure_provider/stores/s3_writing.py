"""One new S3 object out of a stream: whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ..errors import StoreError
from ..model import AtRest, Evidence, InTransit
from . import s3
from .formats import Readable
from .s3 import S3Location
from .s3_pending import PART_BYTES, PendingObject, ask, whole_part
from .tls import transport_of, weaker


@dataclass(frozen=True, slots=True)
class Written:
    """What the store answered.

    :param version: the VersionId, or ``etag:…`` in a bucket without versions.
    """

    version: str
    at_rest: AtRest


class WatchedClient:
    """Sees by which sockets a client's requests went."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.in_transit = InTransit()

    @contextmanager
    def watching(self) -> Iterator[WatchedClient]:
        events = self.client.meta.events
        name = f"secure-provider-{id(self)}"
        events.register("after-call.s3", self._after_call, unique_id=name)
        try:
            yield self
        finally:
            events.unregister("after-call.s3", self._after_call, unique_id=name)

    def _after_call(self, http_response: Any, **_: Any) -> None:
        seen = transport_of(connection_of(http_response))
        unseen = self.in_transit.evidence is Evidence.UNKNOWN
        self.in_transit = seen if unseen else weaker(self.in_transit, seen)

    def look(self, location: S3Location) -> None:
        """Make a connection and see how it is protected. Whatever the store answers."""
        from botocore.exceptions import ClientError

        s3.call(
            lambda: _ignoring(ClientError, self.client.head_bucket, Bucket=location.bucket),
            location,
            "HeadBucket",
        )


def write(
    watched: WatchedClient,
    location: S3Location,
    body: Readable,
    metadata: Mapping[str, str],
    sse: Mapping[str, str],
) -> Written:
    """Upload, in parts where it is large. An error of *body* ends it, and nothing is there.

    :param sse: the parameters that ask for server-side encryption, such as ``SSEKMSKeyId``.
    :raises StoreError: if the store did not encrypt as it was asked to; then the object is removed again.
    """
    answer = _upload(watched.client, location, body, {"Metadata": dict(metadata), **sse})
    version = answer.get("VersionId")
    at_rest = s3.observed(answer)
    if sse and at_rest.scheme == "none":  # some stores say it of the object alone
        pin = {"VersionId": version} if version else {}
        head = s3.call(
            lambda: watched.client.head_object(Bucket=location.bucket, Key=location.key, **pin),
            location,
            "HeadObject",
        )
        at_rest = s3.observed(head)
    problem = _not_as_asked(sse, at_rest)
    if problem:
        _remove(watched.client, location, version)
        raise StoreError(f"{location.uri}: {problem}; the object was removed again")
    tag = answer["ETag"].strip(chr(34))
    return Written(version if version not in (None, "null") else f"etag:{tag}", at_rest)


def _upload(client: Any, location: S3Location, body: Readable, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The store's last answer. The object comes to be with it, so what ends before leaves nothing behind."""
    first = whole_part(body)
    if len(first) < PART_BYTES:
        return ask(client, location, "PutObject", Body=first, **settings)
    pending = PendingObject.begin(client, location, body, settings, first)
    try:
        return pending.publish()
    except BaseException:
        with suppress(StoreError):
            pending.abandon()
        raise


def bucket_default(client: Any, bucket: str) -> AtRest:
    """What the bucket does with objects that ask for nothing, as the store reports it."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer = client.get_bucket_encryption(Bucket=bucket)
        rule = answer["ServerSideEncryptionConfiguration"]["Rules"][0]["ApplyServerSideEncryptionByDefault"]
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        if code == "ServerSideEncryptionConfigurationNotFoundError":
            return AtRest("none", evidence=Evidence.OBSERVED, note="the bucket has no default encryption")
        return AtRest(note=f"the bucket's default encryption is not readable ({code})")
    except (BotoCoreError, KeyError, IndexError) as error:
        return AtRest(note=f"the bucket's default encryption is not readable ({type(error).__name__})")
    return s3.observed(
        {"ServerSideEncryption": rule["SSEAlgorithm"], "SSEKMSKeyId": rule.get("KMSMasterKeyID")}
    )


def _not_as_asked(sse: Mapping[str, str], at_rest: AtRest) -> str:
    wanted = sse.get("ServerSideEncryption")
    if wanted is None:
        return ""
    got = s3.observed({"ServerSideEncryption": wanted}).scheme
    if at_rest.scheme != got:
        return f"{got} was asked for, and S3 says {at_rest.scheme}"
    key = sse.get("SSEKMSKeyId")
    if key and at_rest.key_id and not at_rest.key_id.endswith(key.rpartition("/")[2]):
        return "S3 used another KMS key than was asked for"
    return ""


def _remove(client: Any, location: S3Location, version: str | None) -> None:
    pin = {"VersionId": version} if version else {}
    s3.call(
        lambda: client.delete_object(Bucket=location.bucket, Key=location.key, **pin),
        location,
        "DeleteObject",
    )


def connection_of(http_response: Any) -> Any:
    """The connection of an answer that was read to its end: it went back to its pool, last in, first out."""
    pool = getattr(getattr(http_response, "raw", None), "_pool", None)
    waiting = getattr(getattr(pool, "pool", None), "queue", None) or [None]
    return waiting[-1]


def _ignoring(kind: type[Exception], function: Any, **given: Any) -> None:
    try:
        function(**given)
    except kind:
        return
