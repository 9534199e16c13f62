"""Some rows of a table, from all over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import sql

from ..errors import ConfigurationError
from .postgres import Connection, TableName
from .postgres_errors import postgres_failures

_LEAST_PAGES = 100  # of a table's 8 KiB pages; fewer may all happen to be left out


def sample(
    connection: Connection, table: TableName, columns: Sequence[str], rows: int
) -> list[tuple[Any, ...]]:
    """Rows out of pages drawn at random, without reading the others.

    :raises ConfigurationError: for a view or a foreign table, of which PostgreSQL draws no samples.
    """
    with postgres_failures(str(table)):
        found = connection.execute(
            "SELECT c.relkind::text, (SELECT coalesce(sum(pg_relation_size(relid)), 0) / 8192 FROM pg_partition_tree(c.oid)) "
            "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %s AND c.relname = %s",
            (table.schema, table.table),
        ).fetchone()
        kind, pages = found or ("", 0)
        if kind not in ("r", "p", "m"):
            raise ConfigurationError(
                f"{table} is no table of its own: verify_cells can't draw a sample of it"
            )
        share = min(100.0, 100.0 * max(rows, _LEAST_PAGES) / max(float(pages), 1.0))
        return connection.execute(
            sql.SQL(
                "SELECT * FROM (SELECT {} FROM {} TABLESAMPLE SYSTEM ({})) drawn ORDER BY random() LIMIT {}"
            ).format(
                sql.SQL(", ").join(map(sql.Identifier, columns)),
                table.identifier,
                sql.Literal(share),
                sql.Literal(rows),
            )
        ).fetchall()
