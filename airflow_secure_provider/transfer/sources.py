"""Where rows come from: an S3 object, or a PostgreSQL table. Each is opened, judged, and then read in batches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from ..model import AtRest, ColumnStatus, DatasetStatus, Evidence, InTransit
from ..objects.opening import open_object
from ..objects.source import Counted, PlainStream
from ..protection.reversible import from_base64
from ..stores import postgres, s3
from ..stores.csv import CsvReader
from ..stores.postgres import TableName
from ..stores.postgres_errors import postgres_failures
from ..stores.states import read_states


class OpenSource(Protocol):
    """A source that has been looked at, and of which nothing has been read yet.

    Its columns are read (and with them the first bytes of its content) when first asked for.
    """

    @property
    def status(self) -> DatasetStatus: ...

    @property
    def version(self) -> str | None:
        """What identifies the content: an object's version. ``None`` where the source has none."""

    @property
    def selection(self) -> str | None:
        """What identifies the rows that are read, where these are not all."""

    @property
    def columns(self) -> list[str]: ...

    @property
    def states(self) -> Mapping[str, ColumnStatus]:
        """How columns are known to be protected already."""

    @property
    def bytes_read(self) -> int: ...

    def batches(self) -> Iterator[Any]:
        """Arrow record batches, unverified until :meth:`finish` has returned."""

    def finish(self) -> None:
        """Verify that everything was read, and nothing else. Raises if not."""

    def close(self) -> None: ...


class Source(Protocol):
    @property
    def where(self) -> str:
        """The source in messages: the URI, or the table."""

    @property
    def transport_ahead(self) -> InTransit:
        """What is known of the transport before the first request is made."""

    def open(self, declared: Mapping[str, AtRest]) -> OpenSource:
        """:param declared: what people declared of stores at rest, by dataset namespace."""


@dataclass(frozen=True, slots=True)
class S3Source:
    """A CSV object, encrypted by its writer (AWS Encryption SDK) or by S3.

    :param client: a boto3 S3 client.
    :param kms_client: gives a boto3 KMS client for a key ARN.
    :param context: pairs that the message's encryption context must hold.
    :param key_arns: accepted wrapping keys; ``None`` for any that KMS lets the caller use.
    """

    client: Any = field(repr=False)
    kms_client: Callable[[str], Any] = field(repr=False)
    uri: str
    context: Mapping[str, str] = field(default_factory=dict)
    key_arns: Collection[str] | None = None

    @property
    def where(self) -> str:
        return self.uri

    @property
    def transport_ahead(self) -> InTransit:
        plaintext = str(self.client.meta.endpoint_url).startswith("http://")
        return InTransit(protocol="none", evidence=Evidence.OBSERVED) if plaintext else InTransit()

    def open(self, declared: Mapping[str, AtRest]) -> OpenSource:
        described = s3.describe(self.client, s3.S3Location.parse(self.uri), declared)
        raw, in_transit = s3.open_body(self.client, described)
        try:
            body = Counted(raw, described.size, described.location.uri)
            stream = open_object(
                body,
                described.metadata,
                described.at_rest,
                kms_client=self.kms_client,
                context=self.context,
                key_arns=self.key_arns,
            )
            status = DatasetStatus(described.dataset, stream.at_rest, in_transit)
            return _OpenObject(raw, body, stream, status, described.version)
        except BaseException:
            raw.close()
            raise


@dataclass(frozen=True)
class _OpenObject:
    raw: Any
    body: Counted
    stream: PlainStream
    status: DatasetStatus
    version: str | None
    selection: str | None = None

    @cached_property
    def reader(self) -> CsvReader:
        return CsvReader(self.stream, self.body.where)

    @property
    def columns(self) -> list[str]:
        return self.reader.columns

    @property
    def states(self) -> Mapping[str, ColumnStatus]:
        return {}

    @property
    def bytes_read(self) -> int:
        return self.body.position

    def batches(self) -> Iterator[Any]:
        return self.reader.batches()

    def finish(self) -> None:
        self.stream.finish()

    def close(self) -> None:
        self.raw.close()


@dataclass(frozen=True, slots=True)
class PostgresSource:
    """A PostgreSQL table.

    :param connect: gives a new psycopg 3 connection.
    :param rows: an SQL condition for the rows to be read; all if ``None``.
    :param only: the columns to be read; all if ``None``.
    """

    connect: Callable[[], Any] = field(repr=False)
    table: str
    set_role: str | None = None
    rows: str | None = field(default=None, repr=False)
    only: Collection[str] | None = None

    @property
    def where(self) -> str:
        return self.table

    @property
    def transport_ahead(self) -> InTransit:
        return InTransit()  # the live connection is judged before the first row is asked for

    def open(self, declared: Mapping[str, AtRest]) -> OpenSource:
        table = TableName.parse(self.table)
        with postgres_failures(str(table)):
            raw = self.connect()
        try:
            connection = postgres.prepare(raw)
            in_transit = postgres.observe(connection)
            postgres.act_as(connection, self.set_role)
            postgres.freeze(connection)
            dataset = postgres.dataset(connection, table)
            columns = postgres.describe(connection, table)
            if self.only is not None:
                columns = [column for column in columns if column.name in self.only]
            states = read_states(connection, table)
            status = DatasetStatus(
                dataset,
                declared.get(dataset.namespace, AtRest()),
                in_transit,
                tuple(states[column.name] for column in columns if column.name in states),
            )
            copy = postgres.CopyReader(connection, table, columns, self.rows)
            binary = frozenset(column.name for column in columns if column.base == "bytea")
            names = [column.name for column in columns]
            return _OpenTable(connection, copy, str(table), status, states, names, binary, self.rows)
        except BaseException:
            raw.close()
            raise


@dataclass(frozen=True)
class _OpenTable:
    connection: Any
    copy: postgres.CopyReader
    name: str
    status: DatasetStatus
    states: Mapping[str, ColumnStatus]
    columns: list[str]
    binary: frozenset[str]
    selection: str | None
    version: str | None = None

    @cached_property
    def reader(self) -> CsvReader:
        return CsvReader(self.copy, self.name)

    @property
    def bytes_read(self) -> int:
        return self.copy.bytes_read

    def batches(self) -> Iterator[Any]:
        for batch in self.reader.batches():
            for index, name in enumerate(batch.schema.names):
                if name in self.binary:
                    batch = batch.set_column(index, name, from_base64(batch.column(index)))
            yield batch

    def finish(self) -> None:
        """COPY ends with the statement's own success, which the driver has checked."""

    def close(self) -> None:
        self.connection.close()
