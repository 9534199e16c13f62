"""Rows that change those of the same key: first into a temporary table, then into the target in one statement."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from ..errors import ContractError, LoadError
from ..model import ColumnRule, Protection
from . import staging
from .postgres import Connection, TableName
from .postgres_errors import postgres_failures

_KNOWN_AGAIN = (Protection.NONE, Protection.TOKENIZE, Protection.FPE, Protection.PSEUDONYMIZE)


def quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def check_keys(
    connection: Connection, table: TableName, rules: Sequence[ColumnRule], keys: Sequence[str]
) -> None:
    """:raises ContractError: if a row can't be known again by these columns."""
    by_name = {rule.name: rule for rule in rules}
    problems = []
    for name in keys:
        rule = by_name.get(name)
        if rule is None:
            problems.append(f"key column {name!r} is not loaded")
        elif rule.protection not in _KNOWN_AGAIN:
            problems.append(
                f"key column {name!r} is {rule.protection}, by which no row is known again: take tokenize, fpe or "
                "pseudonymize"
            )
    if len(set(keys)) != len(keys):
        problems.append("a key column stands twice")
    if not problems and not _has_index(connection, table, keys):
        names = sql.SQL(", ").join(map(sql.Identifier, keys))
        statement = sql.SQL("CREATE UNIQUE INDEX ON {} ({})").format(table.identifier, names)
        problems.append(f"it has no unique index on just {quoted(keys)}: {statement.as_string(connection)}")
    if problems:
        raise ContractError(f"target {table}: " + "; ".join(problems))


def _has_index(connection: Connection, table: TableName, keys: Sequence[str]) -> bool:
    with postgres_failures(str(table)):
        row = connection.execute(
            """
            SELECT EXISTS (
                SELECT FROM pg_catalog.pg_index i
                WHERE i.indrelid = %s::regclass AND i.indisunique AND i.indimmediate AND i.indisvalid
                  AND i.indpred IS NULL AND i.indexprs IS NULL
                  AND (SELECT array_agg(a.attname::text ORDER BY a.attname::text)
                       FROM pg_catalog.pg_attribute a
                       WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])) = %s)
            """,
            (table.identifier.as_string(connection), sorted(keys)),
        ).fetchone()
    return bool(row and row[0])


def merge(
    connection: Connection, table: TableName, columns: Sequence[str], keys: Sequence[str]
) -> tuple[int, int]:
    """In the order of their keys, so that two of these at a time wait for each other and never both ways.

    :return: how many rows are new, and how many have changed others.
    :raises LoadError: if a key is null, or stands twice in the source.
    """
    _check_rows(connection, table, keys)
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    others = [name for name in columns if name not in keys]
    changes = sql.SQL(", ").join(
        sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in others
    )
    action = sql.SQL("DO UPDATE SET {}").format(changes) if others else sql.SQL("DO NOTHING")
    statement = sql.SQL(
        "WITH done AS (INSERT INTO {table} ({names}) SELECT {names} FROM {staging} ORDER BY {keys} "
        "ON CONFLICT ({keys}) {action} "
        "RETURNING xmax = 0 AS made) SELECT count(*) FILTER (WHERE made), count(*) FILTER (WHERE NOT made) FROM done"
    ).format(
        table=table.identifier,
        names=names,
        staging=staging.TABLE.identifier,
        keys=sql.SQL(", ").join(map(sql.Identifier, keys)),
        action=action,
    )
    with postgres_failures(str(table)):
        row = connection.execute(statement).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


def _check_rows(connection: Connection, table: TableName, keys: Sequence[str]) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, keys))
    missing = sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(sql.Identifier(name)) for name in keys)
    with postgres_failures(str(table)):
        row = connection.execute(
            sql.SQL(
                "SELECT (SELECT count(*) FROM {staging} WHERE {missing}), "
                "(SELECT count(*) FROM (SELECT FROM {staging} GROUP BY {names} HAVING count(*) > 1) AS twice)"
            ).format(staging=staging.TABLE.identifier, missing=missing, names=names)
        ).fetchone()
    without, twice = row or (0, 0)
    if without:
        raise LoadError(
            f"{table}: {without:,} rows of the source have no key ({quoted(keys)}); nothing was committed"
        )
    if twice:
        raise LoadError(
            f"{table}: {twice:,} keys ({quoted(keys)}) stand twice or more in the source, and nobody knows which row counts; "
            "nothing was committed"
        )
