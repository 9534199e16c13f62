"""Equivalence classes in a PostgreSQL table: rows that are alike in some columns."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from psycopg import sql

from .postgres import Connection, TableName
from .postgres_errors import postgres_failures

_ROWS_AT_ONCE = 50_000


def held(
    connection: Connection, table: TableName, columns: Sequence[str], as_text: Collection[str] = ()
) -> Iterator[list[tuple[Any, ...]]]:
    """The classes with their numbers of rows, some thousands at a time; PostgreSQL counts.

    :param as_text: columns whose values are to come as text.
    """
    names = sql.SQL(", ").join(
        sql.SQL("{}::text" if name in as_text else "{}").format(sql.Identifier(name)) for name in columns
    )
    # By the columns and not by their text: PostgreSQL takes 1 and 1.0 for one value, and "a" and "A" of a citext.
    statement = sql.SQL("SELECT {names}, count(*) FROM {table} GROUP BY {columns}").format(
        names=names,
        table=table.identifier,
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
    )
    with postgres_failures(str(table)), connection.transaction(), connection.cursor(name="classes") as cursor:
        cursor.execute(statement)
        while rows := cursor.fetchmany(_ROWS_AT_ONCE):
            yield rows


def smaller_than(connection: Connection, table: TableName, columns: Sequence[str], k: int) -> int:
    """How many classes have less rows."""
    with postgres_failures(str(table)):
        found = connection.execute(
            sql.SQL("SELECT count(*) FROM (SELECT FROM {} GROUP BY {} HAVING count(*) < {}) small").format(
                table.identifier, sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Literal(k)
            )
        ).fetchone()
    return int(found[0]) if found else 0
