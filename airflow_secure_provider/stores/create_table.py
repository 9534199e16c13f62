"""A table made of what a contract says of its columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from psycopg import sql

from ..errors import ContractError
from ..model import ColumnDefinition, ColumnRule, Protection
from .postgres import Connection, TableName
from .postgres_errors import postgres_failures

_BY_LOGICAL_TYPE = {
    "string": "text",
    "date": "date",
    "timestamp": "timestamp",
    "time": "time",
    "integer": "bigint",
    "number": "numeric",
    "boolean": "boolean",
}
_TYPE = re.compile(r"[A-Za-z_][A-Za-z0-9_ .]*(\(\d+(, ?-?\d+)?\))?[A-Za-z ]*(\[\])*")
_KNOWN_AGAIN = (Protection.NONE, Protection.TOKENIZE, Protection.FPE, Protection.PSEUDONYMIZE)


def exists(connection: Connection, table: TableName) -> bool:
    """Out of the catalog itself: ``to_regclass`` may not have heard yet of what was made while we waited for a lock."""
    with postgres_failures(str(table)):
        row = connection.execute(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %s AND c.relname = %s)",
            (table.schema, table.table),
        ).fetchone()
    return bool(row and row[0])


def create(
    connection: Connection,
    table: TableName,
    rules: Sequence[ColumnRule],
    definitions: Mapping[str, ColumnDefinition],
    about: str | None,
) -> None:
    """Columns, keys and comments; what is dropped on the way gets no column.

    :param about: the comment on the table.
    :raises ContractError: for a physical type that is none.
    """
    kept = [rule for rule in rules if rule.protection is not Protection.DROP]
    columns = [_column(rule, definitions.get(rule.name), table) for rule in kept]
    key = _primary_key(kept, definitions)
    if key:
        names = sql.SQL(", ").join(map(sql.Identifier, key))
        columns.append(sql.SQL("PRIMARY KEY ({})").format(names))
    with postgres_failures(str(table)):
        connection.execute(
            sql.SQL("CREATE TABLE {} ({})").format(table.identifier, sql.SQL(", ").join(columns))
        )
        if about:
            connection.execute(
                sql.SQL("COMMENT ON TABLE {} IS {}").format(table.identifier, sql.Literal(about))
            )
        for rule in kept:
            comment = _comment(rule, definitions.get(rule.name))
            where = sql.Identifier(table.schema, table.table, rule.name)
            connection.execute(sql.SQL("COMMENT ON COLUMN {} IS {}").format(where, sql.Literal(comment)))


def _column(rule: ColumnRule, definition: ColumnDefinition | None, table: TableName) -> sql.Composable:
    kind = _type(rule, definition)
    if not _TYPE.fullmatch(kind):
        raise ContractError(
            f"target {table}: column {rule.name!r} has the physicalType {kind!r}, which is no type"
        )
    required = rule.required and rule.protection is not Protection.NULLIFY
    return sql.SQL("{} {}{}").format(
        sql.Identifier(rule.name), sql.SQL(kind), sql.SQL(" NOT NULL" if required else "")
    )


def _type(rule: ColumnRule, definition: ColumnDefinition | None) -> str:
    protection = rule.protection
    if protection in (Protection.ENCRYPT, Protection.TOKENIZE, Protection.PSEUDONYMIZE):
        return "bytea"
    if protection in (Protection.FPE, Protection.REDACT):
        return "text"
    if protection is Protection.GENERALIZE:
        return "integer" if rule.parameters.get("to") in ("year", "decade") else "text"
    own = definition.physical_type if definition else None
    return own or _BY_LOGICAL_TYPE.get(rule.logical_type, "text")


def _primary_key(rules: Sequence[ColumnRule], definitions: Mapping[str, ColumnDefinition]) -> list[str]:
    """By position; none where a column of it is protected so that equal values do not stay equal."""
    places = {
        rule.name: definition.primary_key
        for rule in rules
        if (definition := definitions.get(rule.name)) and definition.primary_key is not None
    }
    by_name = {rule.name: rule for rule in rules}
    wanted = [name for name, definition in definitions.items() if definition.primary_key is not None]
    if set(wanted) != set(places) or any(by_name[name].protection not in _KNOWN_AGAIN for name in places):
        return []
    return sorted(places, key=lambda name: places[name] or 0)


def _comment(rule: ColumnRule, definition: ColumnDefinition | None) -> str:
    """The description, and in brackets class, protection and tags."""
    tags = f"; tags: {', '.join(definition.tags)}" if definition and definition.tags else ""
    facts = f"[{rule.classification}; protection: {rule.protection}{tags}]"
    return f"{definition.description} {facts}" if definition and definition.description else facts
