"""PostgreSQL over verified TLS: what a connection really is, and what a table's columns are."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from ..errors import ConfigurationError, LoadError, StoreError
from ..model import DatasetRef, Evidence, InTransit
from .postgres_errors import postgres_failures

Connection = psycopg.Connection[Any]
_KEEPALIVE = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 6}  # two minutes in all


@dataclass(frozen=True, slots=True)
class TableName:
    """``schema.table``; a bare name is in schema public."""

    schema: str
    table: str

    @classmethod
    def parse(cls, text: str) -> TableName:
        """:raises ConfigurationError: unless it is ``schema.table`` or ``table``, each perhaps in double quotes."""
        part = r'(?:"((?:[^"]|"")+)"|([A-Za-z_][A-Za-z0-9_$]*))'
        found = re.fullmatch(rf"(?:{part}\.)?{part}", text)
        if not found:
            raise ConfigurationError(f"table {text!r}: expected schema.table")
        first, second = (
            quoted.replace('""', '"') if quoted else (bare or "").lower()
            for quoted, bare in (found.group(1, 2), found.group(3, 4))
        )
        return cls(first or "public", second)

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}"

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.table)


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column as the catalog has it.

    :param type: as PostgreSQL writes it: ``numeric(12,2)``.
    :param base: the bare type's name: ``numeric``; of a domain that of the type below it.
    :param kind: ``e`` for an enum, ``b`` for most others, as in ``pg_type.typtype``; of a domain as *base*.
    :param base_type: *type* of what is below a domain.
    """

    name: str
    type: str
    base: str
    required: bool
    has_default: bool
    generated: bool
    kind: str = "b"
    base_type: str = ""


def prepare(connection: Any) -> Connection:
    """Hold a connection out of a hook to what is needed here.

    :raises ConfigurationError: if it is not a psycopg 3 connection.
    """
    if not isinstance(connection, psycopg.Connection):
        raise ConfigurationError(
            f"the PostgreSQL hook gave a {type(connection).__module__} connection, expected psycopg 3; "
            "install psycopg and SQLAlchemy 2, as Airflow 3.2 and later do"
        )
    _notice_a_dead_peer(connection)
    with postgres_failures("PostgreSQL"):
        connection.rollback()
        connection.autocommit = True  # from here on `with connection.transaction()` is a real BEGIN … COMMIT
        # What others commit while we wait for a lock must be seen after it, whatever the role's own default is.
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    return connection


def _notice_a_dead_peer(connection: Connection) -> None:
    """Ask after a server that says nothing: without it a connection whose other end is gone is waited on for hours.

    Where the connection says something of it itself, that counts.
    """
    told = connection.info.get_parameters()
    if any(name.startswith(("keepalives", "tcp_user_timeout")) for name in told):
        return
    with socket.socket(fileno=os.dup(connection.fileno())) as there:
        if there.family in (socket.AF_INET, socket.AF_INET6):
            there.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEPALIVE.items():
                there.setsockopt(socket.IPPROTO_TCP, option, value)


def act_as(connection: Connection, role: str | None) -> None:
    """Take on the stable owner's role, since a leased user owns nothing; ``None`` to stay who it is."""
    if role:
        with postgres_failures(f"SET ROLE {role}"):
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))


TIMEOUTS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")


def limit(connection: Connection, timeouts: Mapping[str, float]) -> None:
    """Set the session's own timeouts, in seconds."""
    for name, seconds in timeouts.items():
        with postgres_failures(f"SET {name}"):
            connection.execute(
                sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(f"{round(seconds * 1000)}ms"))
            )


def plain_forms(connection: Connection) -> None:
    """Dates, times and floats as they are, in one form, whatever the role's own settings are."""
    connection.execute("SET datestyle = 'ISO, YMD'; SET timezone = 'UTC'; SET extra_float_digits = 1")


def freeze(connection: Connection) -> None:
    """From here on everything is read as of one moment: what is recorded of columns, and their rows."""
    connection.autocommit = False
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True


def observe(connection: Connection) -> InTransit:
    """How this live connection is protected, from the driver and from the server's own view.

    To be called before :func:`act_as`: the server shows a connection's cipher to the user who logged in only.
    """
    if not connection.pgconn.ssl_in_use:
        return InTransit(protocol="none", evidence=Evidence.OBSERVED)
    with postgres_failures("PostgreSQL"):
        row = connection.execute(
            "SELECT version, cipher, client_dn IS NOT NULL FROM pg_catalog.pg_stat_ssl "
            "WHERE pid = pg_backend_pid() AND ssl"
        ).fetchone()
    version, cipher, mutual = row or ("TLS", None, None)
    # ssl_in_use alone proves nothing about verification: libpq checks chain and name only under verify-full.
    verified = connection.info.get_parameters().get("sslmode") == "verify-full"
    return InTransit(version, cipher, verified, mutual, Evidence.OBSERVED)


def dataset(connection: Connection, table: TableName) -> DatasetRef:
    """OpenLineage name and asset URI of a table."""
    info = connection.info
    namespace = f"postgres://{info.host}:{info.port}"
    uri = f"{namespace}/{info.dbname}/{table.schema}/{table.table}"
    return DatasetRef(namespace, f"{info.dbname}.{table}", uri)


def describe(connection: Connection, table: TableName) -> list[TableColumn]:
    """:raises StoreError: if there is no such table."""
    with postgres_failures(str(table)):
        rows = connection.execute(
            """
            SELECT a.attname, format_type(a.atttypid, a.atttypmod), t.typname,
                   a.attnotnull, a.atthasdef OR a.attidentity <> '', a.attgenerated <> '' OR a.attidentity = 'a',
                   t.typtype::text, format_type(below.oid, below.modifier)
            FROM pg_catalog.pg_attribute a
            JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            CROSS JOIN LATERAL (
                WITH RECURSIVE types (oid, modifier) AS (
                    SELECT a.atttypid, a.atttypmod
                    UNION ALL
                    SELECT d.typbasetype, d.typtypmod FROM types
                    JOIN pg_catalog.pg_type d ON d.oid = types.oid AND d.typtype = 'd')
                SELECT oid, modifier FROM types ORDER BY oid IN (
                    SELECT oid FROM pg_catalog.pg_type WHERE typtype = 'd') LIMIT 1
            ) below
            JOIN pg_catalog.pg_type t ON t.oid = below.oid
            WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped
              AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
            ORDER BY a.attnum
            """,
            (table.schema, table.table),
        ).fetchall()
    if not rows:
        raise StoreError(
            f"table {table} does not exist in database {connection.info.dbname!r}; check its schema and name, or create it first"
        )
    return [TableColumn(*row) for row in rows]


def delete_all(connection: Connection, table: TableName) -> None:
    """Empty a table so that readers of the old rows go on seeing them until the commit."""
    with postgres_failures(str(table)):
        connection.execute(sql.SQL("DELETE FROM {}").format(table.identifier))
        left = connection.execute(
            sql.SQL("SELECT EXISTS (SELECT FROM {})").format(table.identifier)
        ).fetchone()
    if left and left[0]:
        raise LoadError(
            f"{table}: rows are left after DELETE; look at its triggers and rules; nothing was committed"
        )
