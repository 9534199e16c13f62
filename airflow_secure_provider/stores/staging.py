"""A temporary table that rows wait in, until all of them are there."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from psycopg import sql

from ..errors import LoadError
from .postgres import Connection, TableName
from .postgres_errors import postgres_failures

TABLE = TableName("pg_temp", "secure_provider_staging")


def make(
    connection: Connection,
    table: TableName,
    columns: Sequence[str],
    *,
    required: Collection[str] = (),
    beyond_commit: bool = False,
) -> None:
    """The target's columns that are loaded, with neither its indexes nor its checks.

    :param required: those that may not be null.
    :param beyond_commit: until the session ends, or else until the transaction does.
    """
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    with postgres_failures("a temporary table (GRANT TEMPORARY ON DATABASE …)"):
        connection.execute(
            sql.SQL("CREATE TEMPORARY TABLE {} ON COMMIT {} AS SELECT {} FROM {} WITH NO DATA").format(
                sql.Identifier(TABLE.table),
                sql.SQL("PRESERVE ROWS" if beyond_commit else "DROP"),
                names,
                table.identifier,
            )
        )
        for name in required:
            connection.execute(
                sql.SQL("ALTER TABLE {} ALTER {} SET NOT NULL").format(TABLE.identifier, sql.Identifier(name))
            )


def move(connection: Connection, table: TableName, columns: Sequence[str], rows: int) -> None:
    """All rows into the target, in one statement, and the staging away.

    :raises LoadError: if the target stored another number of rows.
    """
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    with postgres_failures(str(table)):
        stored = connection.execute(
            sql.SQL("INSERT INTO {table} ({names}) SELECT {names} FROM {staging}").format(
                table=table.identifier, names=names, staging=TABLE.identifier
            )
        ).rowcount
        connection.execute(sql.SQL("DROP TABLE {}").format(TABLE.identifier))
    if stored != rows:
        raise LoadError(
            f"{table}: sent {rows:,} rows and PostgreSQL stored {stored:,}; nothing was committed"
        )
