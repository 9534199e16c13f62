"""An author's query: held to be one, and followed to the columns that its result comes from.

What is known of a column (its class, its protection) is recorded by table. PostgreSQL itself tells where each column of a
result comes from, and which columns a query uses besides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.errors import InsufficientPrivilege

from ..errors import ConfigurationError, ContractError, raise_alone
from .condition import is_closed
from .postgres import Connection, TableColumn, TableName
from .postgres_errors import postgres_failures

Origin = tuple[TableName, str]
_WHERE = "query="
_FIRST_USER_OID = 16384


@dataclass(frozen=True, slots=True)
class Query:
    """
    :param columns: of the result.
    :param origins: by column of the result, the column of a table that it is; those that are computed are missing.
    :param used: every column that the query reads, also through views, to filter or to join.
    """

    text: str
    columns: tuple[TableColumn, ...]
    origins: dict[str, Origin]
    used: tuple[Origin, ...]

    @property
    def tables(self) -> list[TableName]:
        return sorted({table for table, _ in self.used}, key=str)

    @property
    def statement(self) -> sql.Composed:
        return sql.SQL("(\n{}\n)").format(sql.SQL(self.text))


def look(connection: Connection, text: str) -> Query:
    """Let PostgreSQL read the query; nothing of it is run.

    :raises ConfigurationError: if it is no query.
    :raises ContractError: if nobody can tell what it reads.
    """
    if not is_closed(text):
        raise ConfigurationError(
            f"{_WHERE} is no query: outside of quotes it may hold no ; -- /* $ or E'…', and its parentheses must match"
        )
    with _as_query_failures():
        columns, origins = _result(connection, text)
        names = [each.name for each in columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigurationError(f"{_WHERE} gives column {twice[0]!r} twice; name one otherwise (AS …)")
        used = _used(connection, text)
    return Query(text, tuple(columns), origins, used)


def _result(connection: Connection, text: str) -> tuple[list[TableColumn], dict[str, Origin]]:
    columns, origins = [], {}
    for name, type_oid, modifier, table, number in _described(connection, text):
        row = connection.execute(
            "SELECT format_type(oid, %s), typname FROM pg_catalog.pg_type WHERE oid = %s",
            (modifier, type_oid),
        ).fetchone()
        written, base = row or ("unknown", "unknown")
        columns.append(TableColumn(name, written, base, False, False, False))
        origin = _origin(connection, table, number)
        if origin is not None:
            origins[name] = origin
    return columns, origins


def _described(connection: Connection, text: str) -> list[tuple[str, int, int, int, int]]:
    """Of each column of the result its name, type and modifier, and the relation and number that PostgreSQL says it is."""
    statement = sql.SQL("SELECT * FROM (\n{}\n) AS q LIMIT 0").format(sql.SQL(text))
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(statement, prepare=True)
        result, fields = cursor.pgresult, cursor.description
        if result is None or not fields:
            raise ConfigurationError(f"{_WHERE} gives no columns")
        return [
            (field.name, field.type_code, result.fmod(index), result.ftable(index), result.ftablecol(index))
            for index, field in enumerate(fields)
        ]


def _origin(connection: Connection, relation: int, number: int) -> Origin | None:
    """The table's column, also where a view gives it as it is."""
    if not relation or number <= 0:
        return None
    row = connection.execute(
        "SELECT n.nspname, c.relname, a.attname, c.relkind::text, "
        "CASE WHEN c.relkind = 'v' THEN rtrim(pg_get_viewdef(c.oid), ';') END "
        "FROM pg_catalog.pg_attribute a "
        "JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "WHERE a.attrelid = %s AND a.attnum = %s",
        (relation, number),
    ).fetchone()
    if row is None:
        raise ContractError(f"{_WHERE}: a table was dropped meanwhile; run it again")
    schema, table, column, kind, definition = row
    if kind == "v":
        *_, relation, number = _described(connection, definition)[number - 1]
        return _origin(connection, relation, number)
    return None if kind == "m" else (TableName(schema, table), column)


_USED = """
WITH RECURSIVE rules (oid, view) AS (
    SELECT oid, ev_class FROM pg_catalog.pg_rewrite WHERE ev_class = %(view)s::regclass
    UNION
    SELECT r.oid, r.ev_class FROM rules
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = rules.oid
        AND d.refclassid = 'pg_class'::regclass
    JOIN pg_catalog.pg_rewrite r ON r.ev_class = d.refobjid
)
SELECT d.refclassid = 'pg_proc'::regclass, d.refobjid, n.nspname, c.relname, a.attname, c.relkind::text
FROM rules
JOIN pg_catalog.pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = rules.oid AND d.refobjid <> rules.view
LEFT JOIN pg_catalog.pg_class c ON d.refclassid = 'pg_class'::regclass AND c.oid = d.refobjid
LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND (a.attnum = d.refobjsubid OR %(whole)s)
    AND a.attnum > 0 AND NOT a.attisdropped
WHERE d.refclassid IN ('pg_class'::regclass, 'pg_proc'::regclass)
"""


def _used(connection: Connection, text: str) -> tuple[Origin, ...]:
    """Through a view that never comes to be: the catalog records what a view depends on, column by column."""
    view = sql.Identifier("secure_provider_query")
    name = "pg_temp.secure_provider_query"
    with connection.transaction(force_rollback=True):
        connection.execute(sql.SQL("CREATE TEMPORARY VIEW {} AS (\n{}\n)").format(view, sql.SQL(text)))
        row = connection.execute("SELECT pg_get_viewdef(%s::regclass)", (name,)).fetchone()
        whole = bool(row and re.search(r"\.\*", row[0]))  # a row as one value: all of its columns
        found = connection.execute(_USED, {"view": name, "whole": whole}).fetchall()
    if any(is_function and oid >= _FIRST_USER_OID for is_function, oid, *_ in found):
        raise ContractError(
            f"{_WHERE} calls a function that is not PostgreSQL's own, or a view does, so nobody can tell which columns it "
            "reads: put what it gives into a table, and read that"
        )
    return tuple(
        sorted(
            {
                (TableName(schema, table), column)
                for _, _, schema, table, column, kind in found
                if column is not None and kind not in ("v", "m")
            },
            key=str,
        )
    )


@contextmanager
def _as_query_failures() -> Iterator[None]:
    wrong = ""
    denied = False
    with postgres_failures(_WHERE):
        try:
            yield
        except InsufficientPrivilege:
            denied = True
        except (psycopg.ProgrammingError, psycopg.DataError, psycopg.NotSupportedError) as error:
            wrong = str(error.sqlstate)
    if denied:
        raise_alone(
            ConfigurationError(
                f"{_WHERE}: the role may not read all of its tables, or may not make temporary views (GRANT TEMPORARY ON "
                "DATABASE …), by which it is told what the query reads"
            )
        )
    if wrong:
        raise_alone(
            ConfigurationError(
                f"{_WHERE} is no query that PostgreSQL takes (SQLSTATE {wrong}); try it in psql"
            )
        )
