"""Rows out of a PostgreSQL query, whose columns are followed to the tables that they come from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from psycopg import sql

from ..model import (
    AtRest,
    Classification,
    ColumnRule,
    ColumnStatus,
    DatasetRef,
    DatasetStatus,
    InTransit,
    Protection,
)
from ..stores import postgres, query
from ..stores.postgres import Connection, TableName
from ..stores.postgres_copy import CopyReader
from ..stores.postgres_errors import postgres_failures
from ..stores.query import Query
from ..stores.states import read_states
from .from_table import OpenRows
from .sources import OpenSource

_NAME = "query="


@dataclass(frozen=True, slots=True)
class QuerySource:
    """The rows of an SQL query.

    A column that is one of a table's, renamed or not, is known as that column is recorded. One that is computed counts as
    the highest class of all columns that the query uses; of those that hold ciphertext at most as confidential, since
    nothing that is computed of ciphertext holds the value.

    :param connect: gives a new psycopg 3 connection.
    """

    connect: Callable[[], Any] = field(repr=False)
    query: str = field(repr=False)
    set_role: str | None = None

    @property
    def where(self) -> str:
        return _NAME

    @property
    def transport_ahead(self) -> InTransit:
        return InTransit()  # the live connection is judged before the first row is asked for

    def open(self, declared: Mapping[str, AtRest], rules: Sequence[ColumnRule] = ()) -> OpenSource:
        with postgres_failures(_NAME):
            raw = self.connect()
        try:
            connection = postgres.prepare(raw)
            in_transit = postgres.observe(connection)
            postgres.act_as(connection, self.set_role)
            found = query.look(connection, self.query)
            postgres.freeze(connection)
            recorded = {table: read_states(connection, table) for table in found.tables}
            status = query_status(connection, found, recorded, in_transit, declared)
            copy = CopyReader(connection, sql.SQL("{} AS q").format(found.statement), found.columns, _NAME)
            return OpenRows(
                connection,
                copy,
                _NAME,
                status,
                column_states(found, recorded),
                found.columns,
                _digest(self.query),
                _origins(connection, found),
            )
        except BaseException:
            raw.close()
            raise


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def query_status(
    connection: Connection,
    found: Query,
    recorded: Mapping[TableName, Mapping[str, ColumnStatus]],
    in_transit: InTransit,
    declared: Mapping[str, AtRest],
) -> DatasetStatus:
    """The query as a dataset, made of the tables that it reads."""
    parts = []
    for table in found.tables:
        names = {column for other, column in found.used if other == table}
        columns = tuple(status for name, status in recorded[table].items() if name in names)
        ref = postgres.dataset(connection, table)
        parts.append(DatasetStatus(ref, declared.get(ref.namespace, AtRest()), in_transit, columns))
    info = connection.info
    namespace = f"postgres://{info.host}:{info.port}"
    name = f"query/{_digest(found.text)[:16]}"
    ref = DatasetRef(namespace, f"{info.dbname}.{name}", f"{namespace}/{info.dbname}/{name}")
    return DatasetStatus(ref, declared.get(namespace, AtRest()), in_transit, parts=tuple(parts))


def column_states(
    found: Query, recorded: Mapping[TableName, Mapping[str, ColumnStatus]]
) -> dict[str, ColumnStatus]:
    used = [recorded[table][name] for table, name in found.used if name in recorded[table]]
    highest = max(filter(None, map(_computed, used)), key=lambda each: each.rank, default=None)
    states = {}
    for column in found.columns:
        origin = found.origins.get(column.name)
        if origin is None or origin not in found.used:  # computed, or behind something that is no table
            if highest is not None:
                states[column.name] = ColumnStatus(column.name, highest, Protection.NONE)
        elif origin[1] in recorded[origin[0]]:
            states[column.name] = replace(recorded[origin[0]][origin[1]], name=column.name)
    return states


def _computed(status: ColumnStatus) -> Classification | None:
    """The class of what is computed of a column."""
    known = status.classification
    hidden = status.protection.reversible or status.protection is Protection.PSEUDONYMIZE
    return Classification.CONFIDENTIAL if known is Classification.RESTRICTED and hidden else known


def _origins(connection: Connection, found: Query) -> dict[str, list[tuple[DatasetRef, str]]]:
    """For lineage: the column that it is, or all that are used where it is computed."""
    refs = {table: postgres.dataset(connection, table) for table in found.tables}
    everything = [(refs[table], name) for table, name in found.used]
    origins = {}
    for column in found.columns:
        origin = found.origins.get(column.name)
        origins[column.name] = (
            [(refs[origin[0]], origin[1])] if origin in found.used and origin else everything
        )
    return origins
