"""The SQL of moving protected columns to another key version. It sees ciphertext only.

Deterministic values of a domain go through a map of old to new values, which is filled in batches that are kept, and then
switch together in one transaction. Encrypted cells say their version each, and are changed in place, batch by batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from psycopg import sql

from ..crypto import cells
from ..errors import ContractError, LoadError, StoreUnavailable
from ..model import ColumnStatus, Protection
from . import postgres
from .manifest import manifest_failures
from .postgres import Connection, TableName
from .postgres_errors import postgres_failures
from .states import keyed_columns, read_states

PAGES = 512  # of 8 KiB: what one look for old cells reads
_MAP = sql.SQL("secure_provider.reprotection_value")
_ASIDE = 0x100000  # a private plane of Unicode, where values stand while others still have theirs


@dataclass(frozen=True, slots=True)
class HeldColumn:
    """A column of a table that is recorded under a keyset."""

    table: TableName
    status: ColumnStatus
    base: str

    @property
    def name(self) -> str:
        return f"{self.table}.{self.status.name}"

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.status.name)

    @property
    def _as_text(self) -> bool:
        return self.status.protection is Protection.FPE

    def as_bytes(self, value: sql.Composable) -> sql.Composable:
        """The SQL that makes bytes of a value as this column holds it."""
        if self._as_text:
            return sql.SQL("convert_to({}::text, 'UTF8')").format(value)
        return value if self.base == "bytea" else sql.SQL("decode({}, 'base64')").format(value)

    def from_bytes(self, value: sql.Composable) -> sql.Composable:
        if self._as_text:
            return sql.SQL("convert_from({}, 'UTF8')").format(value)
        if self.base == "bytea":
            return value
        return sql.SQL("translate(encode({}, 'base64'), E'\\n', '')").format(value)


def held_columns(connection: Connection, keyset_id: str) -> list[HeldColumn]:
    """Every column of this database that is recorded under a keyset.

    :raises ContractError: if a recorded table or column is not there, or is no table whose rows can be changed.
    """
    held: list[HeldColumn] = []
    for target in dict.fromkeys(row[2] for row in keyed_columns(connection, keyset_id)):
        schema, _, bare = target.partition(".")
        table = TableName(schema, bare)
        there = {column.name: column.base for column in postgres.describe(connection, table)}
        for status in read_states(connection, table).values():
            if status.keyset_id != keyset_id or status.key_version is None:
                continue
            if status.name not in there:
                raise ContractError(
                    f"column {status.name!r} of {table} is recorded in secure_provider.column_state and not there; "
                    "correct the record"
                )
            held.append(HeldColumn(table, status, there[status.name]))
    return held


# --- a domain: a map, then one switch ------------------------------------------------------------------------


@contextmanager
def only_one(connection: Connection, keyset_id: str) -> Iterator[None]:
    """:raises StoreUnavailable: if another task re-protects values of this keyset at the moment."""
    name = f"secure_provider:reprotect:{keyset_id}"
    row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 3))", (name,)).fetchone()
    if not row or not row[0]:
        raise StoreUnavailable(
            f"another task re-protects values of keyset {keyset_id!r} in this database; it may be done later"
        )
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 3))", (name,))


def begin(connection: Connection, status: ColumnStatus, to_version: int, task: str | None) -> int:
    """The number of the map from a column's version to another one; that of an earlier run which did not finish."""
    scope, parameters = _variant(status)
    identity = (status.keyset_id, str(status.protection), status.domain, scope, parameters)
    with manifest_failures():
        found = connection.execute(
            "SELECT id FROM secure_provider.reprotection WHERE keyset_id = %s AND protection = %s AND domain = %s "
            "AND scope IS NOT DISTINCT FROM %s AND parameters = %s::jsonb AND from_version = %s AND to_version = %s "
            "AND done_at IS NULL ORDER BY id LIMIT 1",
            (*identity, status.key_version, to_version),
        ).fetchone()
        made = (
            found
            or connection.execute(
                "INSERT INTO secure_provider.reprotection "
                "(keyset_id, protection, domain, scope, parameters, from_version, to_version, task) "
                "VALUES (%s, %s, %s, %s, %s::jsonb, %s, %s, %s) RETURNING id",
                (*identity, status.key_version, to_version, task),
            ).fetchone()
        )
    if made is None:
        raise LoadError("secure_provider.reprotection took no row; look at its triggers and rules")
    return int(made[0])


def same_map(status: ColumnStatus) -> tuple[Any, ...]:
    """Columns for which this is equal make the same new value of the same old one."""
    return status.protection, status.domain, status.key_version, *_variant(status)


def _variant(status: ColumnStatus) -> tuple[str | None, str]:
    import json

    if status.protection is Protection.FPE:
        return status.scope, json.dumps(dict(status.parameters), sort_keys=True)
    return None, "{}"


def unmapped(
    connection: Connection, job: int, columns: Sequence[HeldColumn], size: int, *, held: bool
) -> Iterator[list[bytes]]:
    """The distinct values of the columns that are not in the map yet, in batches.

    :param held: read them as of now, and keep them on the server over the commits of batches; else the surrounding
        transaction holds them.
    """
    each = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {} AS v FROM {} WHERE {} IS NOT NULL").format(
            column.as_bytes(column.identifier), column.table.identifier, column.identifier
        )
        for column in columns
    )
    statement = sql.SQL(
        "SELECT DISTINCT v FROM ({}) AS every WHERE NOT EXISTS "
        "(SELECT FROM {} AS m WHERE m.job = {} AND m.old_hash = sha256(v))"
    ).format(each, _MAP, sql.Literal(job))
    with (
        postgres_failures(columns[0].name),
        connection.cursor(f"reprotect_{job}", withhold=held) as cursor,
    ):
        cursor.execute(statement, binary=True)
        while batch := cursor.fetchmany(size):
            yield [bytes(row[0]) for row in batch]


def remember(connection: Connection, job: int, old: Sequence[bytes], new: Sequence[bytes]) -> None:
    with manifest_failures():
        connection.execute(
            sql.SQL(
                "INSERT INTO {} (job, old_hash, new) SELECT %s, sha256(o), n FROM unnest(%s::bytea[], %s::bytea[]) AS u(o, n) "
                "ON CONFLICT DO NOTHING"
            ).format(_MAP),
            (job, list(old), list(new)),
        )


def hold_tables(connection: Connection, tables: Sequence[TableName]) -> None:
    """Until the transaction ends nobody else writes them; readers go on."""
    connection.execute(
        "SET LOCAL row_security = off"
    )  # a policy that hides rows is an error, not a smaller job
    connection.execute("SET CONSTRAINTS ALL DEFERRED")
    for table in tables:
        with postgres_failures(str(table)):
            connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(table.identifier))


def switch(connection: Connection, job: int, column: HeldColumn, alphabet: str | None) -> int:
    """Put the new values into a column, inside the transaction that holds its table.

    :param alphabet: of fpe; ``None`` for cells.
    :return: the number of values.
    :raises LoadError: if not every value was changed.
    """
    name, table = column.identifier, column.table.identifier
    made = column.from_bytes(sql.SQL("m.new"))
    # A new fpe value may be the old one of another row: under a unique index all first step aside.
    aside = alphabet if alphabet is not None and _is_unique(connection, column) else None
    with postgres_failures(column.name):
        row = connection.execute(sql.SQL("SELECT count({}) FROM {}").format(name, table)).fetchone()
        count = int(row[0]) if row else 0
        if aside is not None:
            free = (chr(code) for code in range(_ASIDE, _ASIDE + 0xFFFE) if chr(code) not in aside)
            private = "".join(islice(free, len(aside)))
            made = sql.SQL("translate({}, {}, {})").format(made, sql.Literal(aside), sql.Literal(private))
        changed = connection.execute(
            sql.SQL(
                "UPDATE {} AS held SET {} = {} FROM {} AS m WHERE m.job = {} AND m.old_hash = sha256({})"
            ).format(
                table, name, made, _MAP, sql.Literal(job), column.as_bytes(sql.SQL("held.{}").format(name))
            )
        ).rowcount
        if aside is not None:
            back = sql.SQL("translate({}, {}, {})").format(name, sql.Literal(private), sql.Literal(aside))
            connection.execute(
                sql.SQL("UPDATE {} SET {} = {} WHERE {} IS NOT NULL").format(table, name, back, name)
            )
    if changed != count:
        raise LoadError(
            f"{column.name}: {changed:,} of {count:,} values could be replaced; look at the triggers and rules of the "
            "table; nothing was switched"
        )
    return count


def record_version(connection: Connection, column: HeldColumn, version: int) -> None:
    with manifest_failures():
        done = connection.execute(
            "UPDATE secure_provider.column_state SET key_version = %s, changed_at = now() "
            "WHERE target = %s AND column_name = %s",
            (version, str(column.table), column.status.name),
        ).rowcount
    if done != 1:
        raise LoadError(f"{column.name}: its record in secure_provider.column_state is gone")


def finish(connection: Connection, job: int, rows: int) -> None:
    """Inside the switch's transaction."""
    with manifest_failures():
        connection.execute(
            "UPDATE secure_provider.reprotection SET done_at = now(), rows = %s WHERE id = %s", (rows, job)
        )


def forget_maps(connection: Connection) -> None:
    """Take away what finished jobs left, which tells whose old and new value belong together."""
    with manifest_failures():
        connection.execute(
            sql.SQL(
                "DELETE FROM {} WHERE job IN (SELECT id FROM secure_provider.reprotection WHERE done_at IS NOT NULL)"
            ).format(_MAP)
        )


def obstacles(connection: Connection, column: HeldColumn) -> list[str]:
    """Foreign keys that would forbid to change referencing and referenced columns one after the other."""
    rows = connection.execute(
        """
        SELECT k.conname, k.conrelid::regclass::text, k.condeferrable
        FROM pg_catalog.pg_constraint k
        JOIN pg_catalog.pg_attribute a ON a.attname = %s
          AND ((a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey))
            OR (a.attrelid = k.confrelid AND a.attnum = ANY (k.confkey)))
        WHERE k.contype = 'f' AND a.attrelid = %s::regclass AND NOT (k.condeferrable AND k.confupdtype = 'a')
        ORDER BY 1
        """,
        (column.status.name, column.table.identifier.as_string(connection)),
    ).fetchall()
    return [
        f"column {column.name} is in foreign key {name!r}, which "
        + (
            "changes rows by itself (ON UPDATE): make it ON UPDATE NO ACTION DEFERRABLE"
            if deferrable
            else f"must wait for the end of the transaction: ALTER TABLE {table} ALTER CONSTRAINT {name} DEFERRABLE"
        )
        for name, table, deferrable in rows
    ]


def _is_unique(connection: Connection, column: HeldColumn) -> bool:
    row = connection.execute(
        """
        SELECT EXISTS (
            SELECT FROM pg_catalog.pg_index i
            JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
            WHERE i.indrelid = %s::regclass AND a.attname = %s AND i.indisunique)
        """,
        (column.table.identifier.as_string(connection), column.status.name),
    ).fetchone()
    return bool(row and row[0])


# --- encrypted cells: in place -------------------------------------------------------------------------------


def parts_of(connection: Connection, table: TableName) -> list[sql.Identifier]:
    """The tables that hold the rows: itself, or its partitions."""
    rows = connection.execute(
        """
        WITH leaf AS (SELECT relid FROM pg_catalog.pg_partition_tree(%(name)s::regclass) WHERE isleaf
                      UNION SELECT %(name)s::regclass)
        SELECT n.nspname, c.relname FROM leaf JOIN pg_catalog.pg_class c ON c.oid = leaf.relid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' ORDER BY 1, 2
        """,
        {"name": table.identifier.as_string(connection)},
    ).fetchall()
    return [sql.Identifier(schema, name) for schema, name in rows]


def page_count(connection: Connection, part: sql.Identifier) -> int:
    row = connection.execute(
        "SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::int",
        (part.as_string(connection),),
    ).fetchone()
    return int(row[0]) if row else 0


def old_cells(
    connection: Connection,
    part: sql.Identifier,
    column: HeldColumn,
    pages: range,
    version: int,
    size: int,
) -> list[tuple[Any, ...]]:
    """Place, cell and the columns it is bound to, of rows whose cell is not under a version; the rows stay locked."""
    beside = [
        sql.SQL("{}::text").format(sql.Identifier(name))
        for name in column.status.parameters.get("bind_to", ())
    ]
    fields = [sql.SQL("ctid::text"), column.as_bytes(column.identifier), *beside]
    with postgres_failures(column.name):
        return connection.execute(
            sql.SQL(
                "SELECT {} FROM {} WHERE ctid >= {}::tid AND ctid < {}::tid AND {} IS NOT NULL AND {} LIMIT {} FOR UPDATE"
            ).format(
                sql.SQL(", ").join(fields),
                part,
                sql.Literal(f"({pages.start},0)"),
                sql.Literal(f"({pages.stop},0)"),
                column.identifier,
                _not_under(column, version),
                sql.Literal(size),
            ),
            binary=True,
        ).fetchall()


def put_cells(
    connection: Connection,
    part: sql.Identifier,
    column: HeldColumn,
    places: Sequence[str],
    made: Sequence[bytes],
) -> None:
    """:raises LoadError: if a row, which is locked, did not take its new cell."""
    with postgres_failures(column.name):
        changed = connection.execute(
            sql.SQL(
                "UPDATE {} AS held SET {} = {} FROM unnest(%s::text[], %s::bytea[]) AS u(place, made) "
                "WHERE held.ctid = u.place::tid"
            ).format(part, column.identifier, column.from_bytes(sql.SQL("u.made"))),
            (list(places), list(made)),
        ).rowcount
    if changed != len(places):
        raise LoadError(
            f"{column.name}: {changed:,} of {len(places):,} rows took their new cell; look at the triggers and rules of the "
            "table"
        )


def count_old_cells(connection: Connection, column: HeldColumn, version: int) -> int:
    """How many cells are not under a version."""
    with postgres_failures(column.name):
        row = connection.execute(
            sql.SQL("SELECT count(*) FROM {} WHERE {} IS NOT NULL AND {}").format(
                column.table.identifier, column.identifier, _not_under(column, version)
            )
        ).fetchone()
    return int(row[0]) if row else 0


def _not_under(column: HeldColumn, version: int) -> sql.Composable:
    head = sql.Literal(cells.HEADER.pack(cells.ENCRYPTED, version))
    cell: sql.Composable = column.identifier
    if column.base != "bytea":
        cell = sql.SQL("decode(left({}, 8), 'base64')").format(cell)
    return sql.SQL("substring({} FOR 5) <> {}::bytea").format(cell, head)
