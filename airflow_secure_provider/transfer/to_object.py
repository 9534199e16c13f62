"""Rows into an S3 object: encrypted, whole, and with its columns' protection in its metadata."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, replace
from typing import Any

import pyarrow as pa

from ..contract.contract import Contract
from ..errors import ConfigurationError
from ..files import RecordFile, stored
from ..model import AtRest, ContractRef, DatasetRef, DatasetStatus, Evidence
from ..objects.encryption_sdk_keys import RawAesKey, writing_keys
from ..objects.encryption_sdk_writing import encrypted
from ..protection.plan import ColumnStep
from ..stores import object_state, s3, s3_writing
from ..stores.audit import Revealing
from ..stores.formats import Compression, FileFormat, Readable
from ..stores.manifest import LoadKey
from ..stores.s3 import S3Location
from ..stores.s3_writing import WatchedClient
from ..stores.states import Domain
from .pipeline import ahead
from .targets import Load, OpenTarget, Stored

log = logging.getLogger(__name__)
ENCRYPTIONS = ("client-side", "SSE-KMS")
_PROGRESS_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ObjectTarget:
    """An S3 object, replaced as a whole.

    :param client: a boto3 S3 client.
    :param kms_client: gives a boto3 KMS client for a key ARN.
    :param kind: CSV, JSON Lines or Parquet; by the key's ending if ``None``.
    :param kms_keys: ARNs of the keys that the object is encrypted under, of which any opens it; none and no raw key leave it
        to the bucket's default.
    :param raw_key: a key in no key service, beside them or alone.
    :param encryption: ``client-side`` (AWS Encryption SDK) or ``SSE-KMS``, where there is a key.
    """

    client: Any = field(repr=False)
    kms_client: Callable[[str], Any] = field(repr=False)
    uri: str
    kind: FileFormat | None = None
    kms_keys: Sequence[str] = ()
    raw_key: RawAesKey | None = None
    encryption: str = "client-side"
    mode: str = "replace"
    allow_insecure_transport: bool = False

    @property
    def where(self) -> str:
        return self.uri

    def check_words(self) -> None:
        if Compression.of_key(S3Location.parse(self.uri).key) is not None:
            raise ConfigurationError(
                f"{self.uri}: objects are not compressed here as a whole; take .parquet, which is inside, or another ending"
            )
        if self.mode != "replace":
            raise ConfigurationError(
                f"mode {self.mode!r}: an object is replaced as a whole, expected replace"
            )
        if self.encryption not in ENCRYPTIONS:
            raise ConfigurationError(
                f"encryption {self.encryption!r} of {self.uri}, expected one of {', '.join(ENCRYPTIONS)}"
            )
        if isinstance(self.kms_keys, str):
            raise ConfigurationError(f"{self.uri}: its KMS keys are a list of ARNs")
        if self.encryption == "SSE-KMS" and (len(self.kms_keys) > 1 or self.raw_key is not None):
            raise ConfigurationError(f"{self.uri}: SSE-KMS takes one KMS key; several are for client-side")

    @contextmanager
    def open(
        self, declared: Mapping[str, AtRest], on_connection: Callable[[Any], None]
    ) -> Iterator[OpenTarget]:
        location = S3Location.parse(self.uri)
        with WatchedClient(self.client).watching() as watched:
            watched.look(location)
            at_rest = self._at_rest(location, declared)
            dataset = DatasetRef(f"s3://{location.bucket}", location.key, location.uri)
            status = DatasetStatus(dataset, at_rest, watched.in_transit)
            yield _OpenObject(self, watched, location, status)

    def _at_rest(self, location: S3Location, declared: Mapping[str, AtRest]) -> AtRest:
        """How the object will lie there, as far as that is in our hands or reported by the store."""
        if self.encryption == "SSE-KMS" and self.kms_keys:
            return AtRest("SSE-KMS", "AES-256", "aws-kms", self.kms_keys[0], Evidence.OBSERVED)
        if self.kms_keys or self.raw_key is not None:
            return client_side(self.kms_keys, self.raw_key)
        default = s3_writing.bucket_default(self.client, location.bucket)
        if default.encrypted:
            return default
        return declared.get(f"s3://{location.bucket}", default)


class _OpenObject:
    def __init__(
        self, target: ObjectTarget, watched: WatchedClient, location: S3Location, status: DatasetStatus
    ) -> None:
        self.status = status
        self.name = location.uri
        self._target = target
        self._watched = watched
        self._location = location
        self._kind = target.kind or FileFormat.of_key(location.key)

    def domain_versions(self, keyset_id: str, wanted: Collection[Domain]) -> Mapping[Domain, int]:
        """Nothing is recorded of where else a domain is."""
        return {}

    def differences(self, contract: Contract) -> list[str]:
        return []

    def take(self, steps: Sequence[ColumnStep]) -> Mapping[str, str]:
        return {step.rule.name: _type(step, self._kind) for step in steps}

    def fit(self, step: ColumnStep, column: Any, *, first_record: int, where: str) -> Any:
        return stored(column, step, self._kind, first_record=first_record, where=where)

    def holds(self, key: LoadKey, *, versioned: bool) -> bool:
        return versioned and self._holds(_identity(key))

    def held_classes(self, names: Sequence[str]) -> Iterator[tuple[Mapping[str, Any], Any]]:
        """An object is replaced as a whole."""
        return iter(())

    def announce(self, revealing: Revealing) -> None:
        raise ConfigurationError(
            f"{self.name}: values are revealed into tables only, beside the record of it; take RevealColumnsOperator"
        )

    def store(self, load: Load) -> Stored:
        identity = _identity(load.key)
        if load.versioned and self._holds(identity):
            return Stored(0, already=True)
        metadata = {
            **object_state.state_metadata(load.columns, self.name),
            object_state.LOAD: identity,
            object_state.CONTRACT: load.contract.ref.digest,
        }
        names = [step.rule.name for step in load.steps]
        with ahead(load.produce) as batches:
            rows = _RowStream(batches, self._kind, names, load)
            body, sse = self._encrypted(rows, load, object_state.digest(metadata))
            written = s3_writing.write(self._watched, self._location, body, metadata, sse)
        at_rest = self.status.at_rest
        if at_rest.scheme != "client-side" and written.at_rest.encrypted:
            at_rest = written.at_rest
        dataset = replace(self.status.dataset, version=written.version)
        status = DatasetStatus(dataset, at_rest, self._watched.in_transit, load.columns)
        return Stored(rows.rows, already=False, status=status)

    def _holds(self, identity: str) -> bool:
        """Whether the object that is there is this very load's."""
        head = s3.metadata(self._target.client, self._location)
        return head is not None and head.get(object_state.LOAD) == identity

    def _encrypted(self, rows: Readable, load: Load, columns_digest: str) -> tuple[Readable, dict[str, str]]:
        target = self._target
        if not target.kms_keys and target.raw_key is None:
            return rows, {}
        if target.encryption == "SSE-KMS":
            return rows, {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": target.kms_keys[0]}
        keys = writing_keys(target.kms_client, target.kms_keys, target.raw_key)
        context = writing_context(self.name, load.contract.ref, load.task)
        context[object_state.BOUND] = columns_digest
        return encrypted(rows, keys, str([*target.kms_keys, target.raw_key][0]), context, self.name), {}


def _identity(key: LoadKey) -> str:
    return hashlib.sha256(json.dumps(astuple(key)).encode()).hexdigest()


def client_side(kms_keys: Sequence[str], raw_key: RawAesKey | None) -> AtRest:
    """How an object lies there that is encrypted under these keys before it goes."""
    first = kms_keys[0] if kms_keys else str(raw_key)
    others = [*kms_keys[1:], *([str(raw_key)] if raw_key and kms_keys else [])]
    note = f"opened by any of these keys too: {', '.join(others)}" if others else None
    provider = "aws-kms" if kms_keys else "raw-aes"
    return AtRest("client-side", "AWS Encryption SDK", provider, first, Evidence.OBSERVED, note)


def writing_context(dataset: str, contract: ContractRef | None, task: str | None) -> dict[str, str]:
    """The encryption context of what a run writes: what it is, under which contract, and who wrote it."""
    context = {"secure-provider:dataset": dataset}
    if contract is not None:
        context["secure-provider:contract"] = contract.digest
    if task:
        context["secure-provider:run"] = task
    return context


class _RowStream(io.RawIOBase):
    """The bytes of a file of records, made as they are read."""

    def __init__(
        self, batches: Iterator[list[Any]], kind: FileFormat, names: Sequence[str], load: Load
    ) -> None:
        super().__init__()
        self._batches = batches
        self._names = names
        self._load = load
        self._sink = _Sink()
        self._file = RecordFile(self._sink, kind, names)
        self._rest = b""
        self._ended = False
        self._logged = time.perf_counter()

    @property
    def rows(self) -> int:
        return self._file.rows

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        pieces, got = [self._rest], len(self._rest)
        while not self._ended and (size < 0 or got < size):
            self._make()
            piece = self._sink.taken()
            pieces.append(piece)
            got += len(piece)
        joined = b"".join(pieces)
        cut = len(joined) if size < 0 else size
        self._rest = joined[cut:]
        return joined[:cut]

    def _make(self) -> None:
        columns = next(self._batches, None)
        with self._load.timings.measure("encode"):
            if columns is not None:
                self._file.write(columns)
            else:
                if not self._file.rows:
                    self._file.write([pa.array([], pa.string()) for _ in self._names])
                self._file.close()
                self._load.before_commit()
                self._ended = True
        if time.perf_counter() - self._logged >= _PROGRESS_SECONDS:
            self._logged = time.perf_counter()
            log.info("%s", self._load.progress(self.rows))


class _Sink(io.RawIOBase):
    """Keeps what is written until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._written += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._written

    def taken(self) -> bytes:
        joined = b"".join(self._pieces)
        self._pieces.clear()
        return joined


def _type(step: ColumnStep, kind: FileFormat) -> str:
    if step.rule.protection.in_cells:
        return "bytes" if kind.holds_bytes else "base64 text"
    return step.rule.logical_type if kind is FileFormat.PARQUET else "text"
