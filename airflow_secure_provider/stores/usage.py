"""Whether a key version is still needed."""

from __future__ import annotations

from psycopg import sql

from ..crypto import cells
from ..errors import ConfigurationError
from ..model import Protection
from . import postgres
from .postgres import Connection, TableName
from .postgres_errors import postgres_failures
from .states import keyed_columns


def count_uses(connection: Connection, keyset_id: str, version: int) -> dict[str, int]:
    """How many values stand under a key version, by ``schema.table.column``; columns without any are left out.

    Reads every row of the tables with encrypted columns, whose cells say their version each.
    """
    there = connection.execute("SELECT to_regclass('secure_provider.column_state') IS NOT NULL").fetchone()
    if not there or not there[0]:
        raise ConfigurationError(
            f"database {connection.info.dbname!r} has no secure_provider.column_state, so nothing is known of it: is it "
            "the right one?"
        )
    uses = {}
    for name, _, target, column, recorded in keyed_columns(connection, keyset_id):
        if Protection(name).deterministic and recorded != version:
            continue
        schema, _, bare = target.partition(".")
        table = TableName(schema, bare)
        with postgres_failures(target):
            quoted = table.identifier.as_string(connection)
            there = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (quoted,)).fetchone()
            if not there or not there[0]:
                raise ConfigurationError(
                    f"table {target} is recorded in secure_provider.column_state and not there: if it was renamed, correct "
                    "the record; if it was dropped, delete it there"
                )
            types = {each.name: each.base for each in postgres.describe(connection, table)}
            count = connection.execute(_count(table, column, types.get(column), name, version)).fetchone()
        if count and count[0]:
            uses[f"{target}.{column}"] = int(count[0])
    return uses


def _count(table: TableName, column: str, base: str | None, protection: str, version: int) -> sql.Composed:
    """The statement that counts a column's values under a version."""
    cell: sql.Composable = sql.Identifier(column)
    if Protection(protection).deterministic:
        return sql.SQL("SELECT count({}) FROM {}").format(cell, table.identifier)
    if base != "bytea":
        cell = sql.SQL("decode(left({}, 8), 'base64')").format(cell)
    head = sql.Literal(cells.HEADER.pack(cells.ENCRYPTED, version))
    return sql.SQL("SELECT count(*) FROM {} WHERE substring({} FOR 5) = {}::bytea").format(
        table.identifier, cell, head
    )
