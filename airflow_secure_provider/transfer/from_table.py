"""Rows out of a PostgreSQL table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ..model import AtRest, ColumnRule, ColumnStatus, DatasetRef, DatasetStatus, InTransit
from ..protection.reversible import from_base64
from ..stores import postgres
from ..stores.condition import checked_condition
from ..stores.csv import CsvReader
from ..stores.postgres import TableColumn, TableName
from ..stores.postgres_copy import CopyReader
from ..stores.postgres_errors import postgres_failures
from ..stores.states import read_states
from .sources import OpenSource


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

    def open(self, declared: Mapping[str, AtRest], rules: Sequence[ColumnRule] = ()) -> OpenSource:
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
            condition = (
                None
                if self.rows is None
                else checked_condition(connection, table.identifier, str(table), self.rows)
            )
            copy = CopyReader(connection, table.identifier, columns, str(table), condition)
            return OpenRows(connection, copy, str(table), status, states, columns, self.rows)
        except BaseException:
            raw.close()
            raise


@dataclass(frozen=True)
class OpenRows:
    """Rows that come out of COPY.

    :ivar origins: by column, the columns of other datasets that it comes from, where that is not the source's own.
    """

    connection: Any
    copy: CopyReader
    name: str
    status: DatasetStatus
    states: Mapping[str, ColumnStatus]
    table_columns: Sequence[TableColumn]
    selection: str | None
    origins: Mapping[str, Sequence[tuple[DatasetRef, str]]] = field(default_factory=dict)
    version: str | None = None
    owns_connection: bool = True

    @property
    def columns(self) -> list[str]:
        return [column.name for column in self.table_columns]

    @property
    def column_types(self) -> Mapping[str, str]:
        return {column.name: column.type for column in self.table_columns}

    @cached_property
    def reader(self) -> CsvReader:
        return CsvReader(self.copy, self.name)

    @property
    def bytes_read(self) -> int:
        return self.copy.bytes_read

    @property
    def timings(self) -> Mapping[str, float]:
        return {}

    def batches(self) -> Iterator[Any]:
        binary = {column.name for column in self.table_columns if column.base == "bytea"}
        for batch in self.reader.batches():
            for index, name in enumerate(batch.schema.names):
                if name in binary:
                    batch = batch.set_column(index, name, from_base64(batch.column(index)))
            yield batch

    def finish(self) -> None:
        """COPY ends with the statement's own success, which the driver has checked."""

    def again(self) -> OpenSource:
        """In the same snapshot."""
        return replace(self, copy=self.copy.again(), owns_connection=False)

    def close(self) -> None:
        if self.owns_connection:
            self.connection.close()
