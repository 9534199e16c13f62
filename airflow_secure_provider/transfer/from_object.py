"""Rows out of an S3 object."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..model import AtRest, ColumnRule, ColumnStatus, DatasetStatus, Evidence, InTransit, Protection
from ..objects.compression import Decompressed
from ..objects.encryption_sdk import EncryptionSdkStream
from ..objects.encryption_sdk_keys import RawAesKey
from ..objects.opening import open_object
from ..objects.parquet_encryption import MAGIC, EncryptedParquet
from ..objects.source import Counted, PlainStream, Unencrypted
from ..objects.spool import EncryptedSpool
from ..stores import s3
from ..stores.csv_dialect import CsvDialect
from ..stores.files import ParquetReader, Reader, json_types, open_reader
from ..stores.formats import Compression, FileFormat
from ..stores.object_state import check_bound, read_state
from ..stores.s3 import S3Location, S3Object
from .pipeline import ReadAhead
from .sources import OpenSource


@dataclass(frozen=True, slots=True)
class S3Source:
    """An object of records, encrypted by its writer (AWS Encryption SDK, S3 Encryption Client, Fernet) or by S3.

    :param client: a boto3 S3 client.
    :param kms_client: gives a boto3 KMS client for a key ARN.
    :param context: pairs that the message's encryption context must hold.
    :param key_arns: accepted wrapping keys; ``None`` for any that KMS lets the caller use.
    :param dialect: how a CSV is written.
    :param raw_key: of a message whose data key is wrapped by a key in no key service.
    :param fernet_keys: of a Fernet file, any of which may have encrypted it.
    :param customer_key: the 32 bytes under which SSE-C has it.
    :param allow_unauthenticated: take objects of the S3 Encryption Client under AES-CBC, in which nothing notices an alteration.
    :param kind: CSV, JSON Lines or Parquet; by the key's ending if ``None``, and CSV for an unknown one.
    """

    client: Any = field(repr=False)
    kms_client: Callable[[str], Any] = field(repr=False)
    uri: str
    context: Mapping[str, str] = field(default_factory=dict)
    key_arns: Collection[str] | None = None
    kind: FileFormat | None = None
    dialect: CsvDialect | None = None
    customer_key: bytes | None = field(default=None, repr=False)
    raw_key: RawAesKey | None = None
    fernet_keys: Sequence[str] = field(default=(), repr=False)
    allow_unauthenticated: bool = False

    @property
    def where(self) -> str:
        return self.uri

    @property
    def transport_ahead(self) -> InTransit:
        plaintext = str(self.client.meta.endpoint_url).startswith("http://")
        return InTransit(protocol="none", evidence=Evidence.OBSERVED) if plaintext else InTransit()

    def describe(self, declared: Mapping[str, AtRest]) -> S3Object:
        """Look at the object, and pin the version that is there."""
        return s3.describe(self.client, S3Location.parse(self.uri), declared, self.customer_key)

    def open(self, declared: Mapping[str, AtRest], rules: Sequence[ColumnRule] = ()) -> OpenSource:
        return self.open_described(self.describe(declared), rules)

    def open_described(self, described: S3Object, rules: Sequence[ColumnRule]) -> OpenObject:
        raw, in_transit = s3.open_body(self.client, described)
        key, where = described.location.key, described.location.uri
        try:
            body = Counted(raw, described.size, where)
            stream = open_object(
                body,
                described.metadata,
                described.at_rest,
                kms_client=self.kms_client,
                context=self.context,
                key_arns=self.key_arns,
                raw_key=self.raw_key,
                fernet_keys=self.fernet_keys,
                allow_unauthenticated=self.allow_unauthenticated,
                instruction=lambda: self._instruction(described.location),
            )
            if isinstance(stream, EncryptionSdkStream):
                check_bound(described.metadata, stream.context, where)
            compression = Compression.of_key(key)
            if compression is not None:
                stream = Decompressed(stream, str(compression), where)
            parquet = self._encrypted_parquet(body, stream, where)
            at_rest = parquet.at_rest if parquet else stream.at_rest
            status = DatasetStatus(described.dataset, at_rest, in_transit)
            return OpenObject(
                raw,
                body,
                stream,
                status,
                described.version,
                self.kind or FileFormat.of_key(key),
                read_state(described.metadata, where),
                json_types(rules),
                self.dialect,
                [rule.name for rule in rules],
                parquet=parquet,
                reopen=lambda: self.open_described(described, rules),
            )
        except BaseException:
            raw.close()
            raise

    def _encrypted_parquet(self, body: Counted, stream: PlainStream, where: str) -> EncryptedParquet | None:
        """Read whole here already, since only then is known which of its columns are encrypted."""
        if not isinstance(stream, Unencrypted) or body.peek(len(MAGIC)) != MAGIC:
            return None
        spool = EncryptedSpool.of(stream)
        stream.finish()
        try:
            return EncryptedParquet(
                spool,
                where,
                stream.at_rest,
                kms_client=self.kms_client,
                key_arns=self.key_arns,
                allow_unauthenticated=self.allow_unauthenticated,
            )
        except BaseException:
            spool.close()
            raise

    def _instruction(self, location: S3Location) -> bytes | None:
        """What the S3 Encryption Client keeps of an object in a file of its own."""
        beside = S3Location(location.bucket, location.key + s3.INSTRUCTION_SUFFIX)
        return None if s3.metadata(self.client, beside) is None else s3.read_small(self.client, beside.uri)


@dataclass(frozen=True)
class OpenObject:
    raw: Any
    body: Counted
    stream: PlainStream
    status: DatasetStatus
    version: str | None
    kind: FileFormat
    states: Mapping[str, ColumnStatus]
    types: Mapping[str, Any]
    dialect: CsvDialect | None = None
    names: Sequence[str] = ()
    selection: str | None = None
    origins: Mapping[str, Any] = field(default_factory=dict)
    column_types: Mapping[str, str] = field(default_factory=dict)
    parquet: EncryptedParquet | None = None
    reopen: Callable[[], OpenObject] | None = None

    @cached_property
    def spool(self) -> EncryptedSpool | None:
        """Parquet is read from its end, so the whole object comes first, and has authenticated before it is parsed."""
        if self.kind is not FileFormat.PARQUET:
            return None
        spool = EncryptedSpool.of(self.stream)
        self.stream.finish()
        return spool

    @cached_property
    def ahead(self) -> ReadAhead:
        """Network and decryption do not wait for the parser, nor it for them."""
        return ReadAhead(self.stream)

    @cached_property
    def reader(self) -> Reader:
        if self.parquet is not None:
            return ParquetReader(self.parquet.file, self.body.where, self.parquet.guard)
        protected = {name for name, state in self.states.items() if state.protection is not Protection.NONE}
        types = {name: kind for name, kind in self.types.items() if name not in protected}
        source = self.spool or self.ahead
        return open_reader(source, self.body.where, self.kind, types, self.dialect, self.names)

    @property
    def columns(self) -> list[str]:
        return self.reader.columns

    @property
    def bytes_read(self) -> int:
        return self.body.position

    @property
    def timings(self) -> Mapping[str, float]:
        if "ahead" not in self.__dict__:
            return {"read": self.body.seconds}
        decrypt = max(0.0, self.ahead.busy - self.body.seconds)
        return {"read": self.body.seconds, "decrypt": decrypt, "waited": self.ahead.waited}

    def batches(self) -> Iterator[Any]:
        return self.reader.batches()

    def finish(self) -> None:
        if self.parquet is None and self.spool is None:
            self.stream.finish()

    def again(self) -> OpenObject:
        """Of the version that was pinned."""
        assert self.reopen is not None  # noqa: S101 (what opens it sets it)
        return self.reopen()

    def close(self) -> None:
        self.raw.close()  # ends a read that waits
        if "ahead" in self.__dict__:
            self.ahead.close()
        if "spool" in self.__dict__ and self.spool is not None:
            self.spool.close()
        if self.parquet is not None:
            self.parquet.close()
