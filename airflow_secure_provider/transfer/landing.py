"""Bytes, encrypted on their way into an S3 object: whole, or not at all, and never in clear on a disk."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from ..contract.contract import Contract
from ..contract.policy import Policy
from ..errors import ConfigurationError
from ..model import AtRest, ColumnStatus, DatasetRef, DatasetStatus, Evidence
from ..objects.encryption_sdk_keys import RawAesKey, writing_keys
from ..objects.encryption_sdk_writing import encrypted
from ..reports import LandingReport
from ..stores import object_state, s3_writing
from ..stores.at_rest import StoreFacts
from ..stores.formats import Compression, Readable
from ..stores.s3 import S3Location
from ..stores.s3_writing import WatchedClient
from .bytes_sources import BytesSource, OpenBytes
from .to_object import client_side, writing_context

log = logging.getLogger(__name__)
_PROGRESS_SECONDS = 5.0
_PIECE_BYTES = 1 << 20
_RESERVED = ("aws-crypto-", "secure-provider:")


@dataclass(frozen=True, slots=True)
class EncryptedObject:
    """An S3 object to be written as an AWS Encryption SDK message; compressed before, if its key ends in .gz or .zst.

    :param client: a boto3 S3 client.
    :param kms_client: gives a boto3 KMS client for a key ARN.
    :param kms_keys: ARNs of KMS keys of which any opens it.
    :param raw_key: a key in no key service, beside them or alone.
    :param context: more pairs for the encryption context, which is authenticated and not secret.
    """

    client: Any = field(repr=False)
    kms_client: Callable[[str], Any] = field(repr=False)
    uri: str
    kms_keys: Sequence[str] = ()
    raw_key: RawAesKey | None = None
    context: Mapping[str, str] = field(default_factory=dict)

    def check_words(self) -> None:
        """:raises ConfigurationError: for what can't be meant."""
        S3Location.parse(self.uri)
        if isinstance(self.kms_keys, str) or not (self.kms_keys or self.raw_key):
            raise ConfigurationError(
                f"{self.uri}: name the keys that it is encrypted under: a list of KMS key ARNs, or a raw AES key"
            )
        reserved = [key for key in self.context if key.startswith(_RESERVED)]
        if reserved:
            raise ConfigurationError(f"encryption_context key {reserved[0]!r}: its beginning is reserved")


def land(
    source: BytesSource,
    target: EncryptedObject,
    contract: Contract | None,
    policy: Policy,
    *,
    declared: Mapping[str, AtRest] | None = None,
    ask_at_rest: Callable[[str], AtRest | None] = lambda namespace: None,
    task: str | None = None,
    on_ends: Callable[[DatasetStatus, DatasetStatus], None] = lambda source, target: None,
) -> LandingReport:
    """Encrypt all that a source gives into one new object.

    Its content is not looked at. What the contract's highest class demands of connections holds for it; without a contract
    it counts as restricted.

    :param declared: what people declared of stores, by dataset namespace.
    :param ask_at_rest: gives what a store itself says; ``None`` where it says nothing.
    :param task: ``dag/task/run/map index``, for the encryption context.
    :param on_ends: told both ends when they are seen, and again when all is known.
    :raises SecureProviderError: and there is no new object.
    """
    target.check_words()
    location = S3Location.parse(target.uri)
    began = time.perf_counter()
    with WatchedClient(target.client).watching() as watched:
        watched.look(location)
        dataset = DatasetRef(f"s3://{location.bucket}", location.key, location.uri)
        reached = DatasetStatus(dataset, client_side(target.kms_keys, target.raw_key), watched.in_transit)
        at_rest = StoreFacts(declared or {}, contract.declared_at_rest if contract else {}, ask=ask_at_rest)
        with source.open(at_rest) as opened:
            on_ends(opened.status, reached)
            _check(policy, contract, reached)
            if opened.travels and opened.status.in_transit.evidence is not Evidence.UNKNOWN:
                _check(policy, contract, opened.status)
            body = _Checked(
                opened, lambda: _check(policy, contract, opened.status) if opened.travels else None
            )
            log.info("encrypting %s into %s", source.where, location.uri)
            columns = tuple(opened.states.values())
            written, size = _write(watched, location, source, body, target, contract, task, columns)
            status = opened.status
            report = LandingReport(
                source=status,
                target=DatasetStatus(
                    replace(dataset, version=written.version), reached.at_rest, watched.in_transit, columns
                ),
                contract=contract.ref if contract else None,
                bytes_read=opened.bytes_read,
                bytes_written=size,
                seconds=time.perf_counter() - began,
                counts=dict(opened.counts),
                policy=policy.name,
            )
    on_ends(report.source, report.target)
    log.info("written: %s", _in_words(report.bytes_read, report.seconds, report.counts))
    return report


def _check(policy: Policy, contract: Contract | None, end: DatasetStatus) -> None:
    policy.check_passage(contract.rules if contract else None, end)


def _write(
    watched: WatchedClient,
    location: S3Location,
    source: BytesSource,
    body: Readable,
    target: EncryptedObject,
    contract: Contract | None,
    task: str | None,
    columns: Sequence[ColumnStatus],
) -> tuple[s3_writing.Written, int]:
    ref = contract.ref if contract else None
    context = {**target.context, **writing_context(location.uri, ref, task)}
    metadata = {object_state.CONTRACT: ref.digest} if ref else {}
    if columns:
        metadata |= object_state.state_metadata(columns, location.uri)
        context[object_state.BOUND] = object_state.digest(metadata)
    compression = Compression.of_key(location.key)
    if compression is not None and source.compression is None:
        body = Compressed(body, compression)
    elif source.compression is not None and source.compression is not compression:
        raise ConfigurationError(
            f"{source.where} is compressed with {source.compression}, which the key {location.key!r} must end with"
        )
    keys = writing_keys(target.kms_client, target.kms_keys, target.raw_key)
    name = target.kms_keys[0] if target.kms_keys else str(target.raw_key)
    message = _Counted(encrypted(body, keys, name, context, location.uri))
    return s3_writing.write(watched, location, message, metadata, {}), message.size


class _Checked(io.RawIOBase):
    """What a source gives, after its connection was judged; and its end only when it has proved to be whole."""

    def __init__(self, opened: OpenBytes, judge: Callable[[], None]) -> None:
        super().__init__()
        self._opened = opened
        self._judge = judge
        self._judged = False
        self._began = self._logged = time.perf_counter()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        piece = self._opened.read(size if size >= 0 else _PIECE_BYTES)
        if not self._judged:
            self._judge()
            self._judged = True
        if not piece:
            self._judge()  # of all connections that were used
            self._opened.finish()
        now = time.perf_counter()
        if now - self._logged >= _PROGRESS_SECONDS:
            self._logged = now
            log.info("%s", _in_words(self._opened.bytes_read, now - self._began, self._opened.counts))
        return piece


class Compressed:
    """A stream, compressed as it is read."""

    def __init__(self, stream: Readable, compression: Compression) -> None:
        self._stream = stream
        self._out = io.BytesIO()
        self._sink: Any = pa.CompressedOutputStream(
            pa.PythonFile(_Kept(self._out), mode="w"), str(compression)
        )
        self._rest = b""
        self._ended = False

    def read(self, size: int, /) -> bytes:
        pieces, got = [self._rest], len(self._rest)
        while got < size and not self._ended:
            piece = self._stream.read(_PIECE_BYTES)
            if piece:
                self._sink.write(piece)
            else:
                self._sink.close()
                self._ended = True
            made = self._out.getvalue()
            self._out.seek(0)
            self._out.truncate()
            pieces.append(made)
            got += len(made)
        joined = b"".join(pieces)
        self._rest = joined[size:]
        return joined[:size]


class _Kept(io.RawIOBase):
    """A file for Arrow to write to, which stays open when Arrow closes it."""

    def __init__(self, out: io.BytesIO) -> None:
        super().__init__()
        self._out = out

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        return self._out.write(data)


class _Counted:
    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.size = 0

    def read(self, size: int, /) -> bytes:
        piece = self._stream.read(size)
        self.size += len(piece)
        return piece


def _in_words(size: int, seconds: float, counts: Mapping[str, int]) -> str:
    more = "".join(f", {count:,} {name}" for name, count in counts.items())
    return f"{size / 1e6:,.1f} MB in {seconds:,.1f} s{more}"
