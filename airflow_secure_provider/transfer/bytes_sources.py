"""What is encrypted into S3 as it is: the bytes of a local file, or the rows of a query as PostgreSQL writes them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from psycopg import sql

from ..errors import ConfigurationError, FormatError, StoreError
from ..model import AtRest, ColumnStatus, DatasetRef, DatasetStatus, InTransit
from ..stores import postgres, query
from ..stores.formats import Compression, Readable
from ..stores.postgres_copy import CopyReader
from ..stores.postgres_errors import postgres_failures
from ..stores.states import read_states
from .from_query import column_states, query_status


class OpenBytes(Readable, Protocol):
    """A source of bytes that has been looked at."""

    @property
    def bytes_read(self) -> int: ...

    @property
    def status(self) -> DatasetStatus:
        """What has been seen of it so far; how its connection is protected may show only with the first bytes."""

    @property
    def travels(self) -> bool:
        """Whether the bytes come over a connection."""

    @property
    def counts(self) -> Mapping[str, int]:
        """What else there is to say, such as the number of pages."""

    @property
    def states(self) -> Mapping[str, ColumnStatus]:
        """How columns are known to be classified and protected, where anything is known of columns."""

    def finish(self) -> None:
        """:raises SecureProviderError: if what was read is not the whole."""


class BytesSource(Protocol):
    @property
    def where(self) -> str: ...

    @property
    def compression(self) -> Compression | None:
        """What its bytes are compressed with already."""

    def open(self, declared: Mapping[str, AtRest]) -> Any:
        """A context manager that gives :class:`OpenBytes`."""


# --- a file of the machine --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of the machine that the task runs on.

    :param path: absolute.
    """

    path: str

    @property
    def where(self) -> str:
        return self.path

    @property
    def compression(self) -> Compression | None:
        return Compression.of_key(self.path)

    @contextmanager
    def open(self, declared: Mapping[str, AtRest]) -> Iterator[OpenBytes]:
        path = Path(self.path)
        if not path.is_absolute():
            raise ConfigurationError(
                f"{self.path!r} is no absolute path, and no worker's folder is anybody's choice"
            )
        try:
            file = path.open("rb")
        except OSError as error:
            raise StoreError(f"{self.path} can't be read: {error.strerror}") from None
        with file:
            dataset = DatasetRef("file", self.path, path.as_uri())
            yield _OpenFile(
                file, self.path, DatasetStatus(dataset, declared.get("file", AtRest()), InTransit())
            )


class _OpenFile:
    travels = False
    counts: Mapping[str, int] = {}
    states: Mapping[str, ColumnStatus] = {}

    def __init__(self, file: IO[bytes], where: str, status: DatasetStatus) -> None:
        self.status = status
        self.bytes_read = 0
        self._file = file
        self._where = where
        self._first = self._look()

    def _look(self) -> tuple[int, int]:
        found = os.fstat(self._file.fileno())
        return found.st_size, found.st_mtime_ns

    def read(self, size: int, /) -> bytes:
        problem = ""
        piece = b""
        try:
            piece = self._file.read(size)
        except OSError as error:
            problem = str(error.strerror)
        if problem:
            raise StoreError(f"{self._where} can't be read after {self.bytes_read:,} bytes: {problem}")
        self.bytes_read += len(piece)
        return piece

    def finish(self) -> None:
        if self._look() != self._first or self.bytes_read != self._first[0]:
            raise FormatError(
                f"{self._where} was changed while it was read: it had {self._first[0]:,} bytes, {self.bytes_read:,} were "
                "read; write it elsewhere and rename it when it is whole"
            )


# --- rows of a query --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class QueryAsCsv:
    """The rows of a query as CSV with a header: every value quoted, null empty.

    What is recorded of the classes and the protection of its columns goes along, as for :class:`.from_query.QuerySource`.

    :param connect: gives a new psycopg 3 connection.
    """

    connect: Callable[[], Any] = field(repr=False)
    query: str = field(repr=False)
    set_role: str | None = None
    on_connection: Callable[[Any], None] = field(default=lambda connection: None, repr=False)

    where = "query="
    compression = None

    @contextmanager
    def open(self, declared: Mapping[str, AtRest]) -> Iterator[OpenBytes]:
        with postgres_failures(self.where):
            raw = self.connect()
        with closing(raw):
            connection = postgres.prepare(raw)
            self.on_connection(connection)
            in_transit = postgres.observe(connection)
            postgres.act_as(connection, self.set_role)
            found = query.look(connection, self.query)
            postgres.freeze(connection)
            recorded = {table: read_states(connection, table) for table in found.tables}
            status = query_status(connection, found, recorded, in_transit, declared)
            rows = sql.SQL("{} AS q").format(found.statement)
            copy = CopyReader(connection, rows, found.columns, self.where)
            yield _OpenQuery(copy, status, column_states(found, recorded))


class _OpenQuery:
    travels = True
    counts: Mapping[str, int] = {}

    def __init__(self, copy: CopyReader, status: DatasetStatus, states: Mapping[str, ColumnStatus]) -> None:
        self.status = status
        self.states = states
        self._copy = copy

    @property
    def bytes_read(self) -> int:
        return self._copy.bytes_read

    def read(self, size: int, /) -> bytes:
        return self._copy.read(size)

    def finish(self) -> None:
        """COPY ends with an error, or is whole."""
