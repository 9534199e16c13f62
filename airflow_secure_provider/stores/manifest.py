"""What has been loaded, and how each column stands: two tables beside the data, written in its transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from typing import Any

from psycopg.errors import InvalidSchemaName, UndefinedTable

from ..errors import ConfigurationError, ContractError, raise_alone
from ..model import Classification, ColumnStatus, ContractRef, Protection, algorithm
from .postgres import Connection, TableName
from .postgres_errors import postgres_failures


@dataclass(frozen=True, slots=True)
class LoadKey:
    """What makes two loads the same.

    Rows of one object are appended once: neither another key version nor a contract whose descriptions or classes have
    changed makes them other rows. A replace is done again for these too, and protects anew.

    :param source_version: the object's VersionId or ETag; for sources without a version the task run.
    :param options: SHA-256 of what decides about the rows (columns, protections, domains, parameters), in hex.
    :param keysets: each keyset with the version that protects, ``customers:3``.
    """

    target: str
    source: str
    source_version: str
    options: str
    contract_digest: str
    keysets: str


def claim(
    connection: Connection, key: LoadKey, mode: str, task: str | None, *, versioned: bool = True
) -> int | None:
    """Insert the manifest row, inside the load's transaction.

    Waits for another load of the same target in mode replace, and of the same object in mode append.

    :param versioned: the source has a version of its own, so that the same one means the same rows. What has none is
        read again by every run that replaces, since it may have changed.
    :return: the row's id; ``None`` if this very load has been committed before and nothing is to be done.
    """
    with manifest_failures():
        if mode == "replace":
            identity = (key.source_version, key.options, key.contract_digest, key.keysets)
            name = f"secure_provider:{key.target}"
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (name,))
            last = connection.execute(
                "SELECT source, source_version, options, contract_digest, keysets FROM secure_provider.load_manifest "
                "WHERE target = %s AND superseded_at IS NULL ORDER BY id DESC LIMIT 1",
                (key.target,),
            ).fetchone()
            if versioned and last == (key.source, *identity):
                return None
            # Whatever the table held goes away, so its loads may be repeated.
            connection.execute(
                "UPDATE secure_provider.load_manifest SET superseded_at = now() "
                "WHERE target = %s AND superseded_at IS NULL",
                (key.target,),
            )
        row = connection.execute(
            "INSERT INTO secure_provider.load_manifest "
            "(target, source, source_version, options, contract_digest, keysets, mode, task) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING id",
            (*astuple(key), mode, task),
        ).fetchone()
    return int(row[0]) if row else None


def complete(connection: Connection, manifest_id: int, rows: int) -> None:
    with manifest_failures():
        connection.execute(
            "UPDATE secure_provider.load_manifest SET rows = %s WHERE id = %s", (rows, manifest_id)
        )


def read_states(connection: Connection, table: TableName) -> dict[str, ColumnStatus]:
    """How the columns of a table are known to be protected; empty if nothing was ever recorded.

    :raises StoreError: if the record is there and may not be read: unknown is not unprotected.
    """
    with manifest_failures():
        there = connection.execute(
            "SELECT to_regclass('secure_provider.column_state') IS NOT NULL"
        ).fetchone()
        if not there or not there[0]:
            return {}
        rows = connection.execute(
            "SELECT column_name, classification, protection, domain, scope, keyset_id, key_version, parameters "
            "FROM secure_provider.column_state WHERE target = %s",
            (str(table),),
        ).fetchall()
    states = {}
    for name, classification, protection, domain, scope, keyset_id, key_version, parameters in rows:
        kind = Protection(protection)
        states[name] = ColumnStatus(
            name=name,
            classification=Classification(classification),
            protection=kind,
            algorithm=algorithm(kind, parameters),
            reversible=kind.reversible,
            domain=domain,
            scope=scope,
            keyset_id=keyset_id,
            key_version=key_version,
            parameters=parameters,
        )
    return states


Domain = tuple[Protection, str]


def read_domain_versions(
    connection: Connection, keyset_id: str, wanted: Collection[Domain], *, besides: TableName | None = None
) -> dict[Domain, int]:
    """Under which key version each domain of deterministic values stands in this database.

    A new version of the keyset is not used for them until all of a domain have been protected anew, or equal values
    would stop being equal.

    :param wanted: protections and domains that are asked for.
    :param besides: a table whose values are about to be replaced, and so don't count.
    :raises ContractError: if columns of a domain stand under different versions.
    """
    versions: dict[Domain, int] = {}
    for name, domain, target, column, version in keyed_columns(connection, keyset_id):
        key = Protection(name), domain
        if key not in wanted or target == str(besides):
            continue
        known = versions.setdefault(key, version)
        if known != version:
            raise ContractError(
                f"domain {domain!r} ({name}) stands under key version {known} and, in column {column!r} of {target}, under "
                f"{version}, so its values don't join: load that table anew with mode='replace'"
            )
    return versions


def keyed_columns(connection: Connection, keyset_id: str) -> list[tuple[Any, ...]]:
    """Protection, domain, table, column and key version of every column that is recorded under a keyset."""
    with manifest_failures():
        there = connection.execute(
            "SELECT to_regclass('secure_provider.column_state') IS NOT NULL"
        ).fetchone()
        if not there or not there[0]:
            return []
        return connection.execute(
            "SELECT protection, domain, target, column_name, key_version FROM secure_provider.column_state "
            "WHERE keyset_id = %s AND domain IS NOT NULL AND key_version IS NOT NULL ORDER BY target, column_name",
            (keyset_id,),
        ).fetchall()


def record_states(
    connection: Connection,
    table: TableName,
    columns: Sequence[ColumnStatus],
    contract: ContractRef,
    *,
    replaced: bool,
) -> None:
    """Write how the columns now stand.

    :param replaced: the table was emptied first. Otherwise old and new rows lie side by side and must be alike.
    :raises ContractError: if they are not, naming the column.
    """
    # Loads that leave the states as they are go on side by side; one that changes them waits for all others.
    before = {} if replaced else read_states(connection, table)
    changes = replaced or any(_changed(column, before.get(column.name), contract) for column in columns)
    _lock_states(connection, table, shared=not changes)
    if not replaced:
        before = read_states(connection, table)  # as they are now that nobody else writes them
    for column in columns:
        old = before.get(column.name)
        if old is not None and _identity(old) != _identity(column):
            raise ContractError(
                f"column {column.name!r} of {table} is {_in_words(old)} and would get rows with {_in_words(column)}: "
                "one column can't hold both; use mode='replace', or the same rule as before"
            )
    with manifest_failures():
        if replaced:
            connection.execute("DELETE FROM secure_provider.column_state WHERE target = %s", (str(table),))
        for column in columns:
            kept = _higher_class(column, before.get(column.name))
            if replaced or _changed(kept, before.get(column.name), contract):
                connection.execute(_UPSERT_STATE, _state_values(table, kept, contract))


def _changed(column: ColumnStatus, before: ColumnStatus | None, contract: ContractRef) -> bool:
    """Whether a column's record is not yet what this load makes of it."""
    if before is None:
        return True
    kept = _higher_class(column, before)
    return (kept.classification, kept.key_version) != (before.classification, before.key_version) or (
        _identity(column) != _identity(before)
    )


def _lock_states(connection: Connection, table: TableName, *, shared: bool) -> None:
    """Until the transaction ends."""
    function = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    with manifest_failures():
        connection.execute(f"SELECT {function}(hashtextextended(%s, 1))", (f"secure_provider:{table}",))


def _higher_class(column: ColumnStatus, before: ColumnStatus | None) -> ColumnStatus:
    """Rows of both classes lie side by side, so the column is what the stricter of them says."""
    old = before.classification if before else None
    if old is None or column.classification is None or old.rank <= column.classification.rank:
        return column
    return replace(column, classification=old)


_UPSERT_STATE = """
INSERT INTO secure_provider.column_state (target, column_name, classification, protection, domain, scope,
    keyset_id, key_version, parameters, contract_id, contract_version, contract_digest)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s, %s, %s)
ON CONFLICT (target, column_name) DO UPDATE SET classification = excluded.classification,
    key_version = excluded.key_version, contract_id = excluded.contract_id,
    contract_version = excluded.contract_version, contract_digest = excluded.contract_digest, changed_at = now()
"""


def _state_values(table: TableName, column: ColumnStatus, contract: ContractRef) -> tuple[object, ...]:
    return (
        str(table),
        column.name,
        str(column.classification),
        str(column.protection),
        column.domain,
        column.scope,
        column.keyset_id,
        column.key_version,
        json.dumps(dict(column.parameters)),
        contract.id,
        contract.version,
        contract.digest,
    )


def _identity(column: ColumnStatus) -> tuple[object, ...]:
    # Encrypted cells of several key versions may lie in one column; tokens may not, they would no longer join.
    version = column.key_version if column.protection.deterministic else None
    parameters = json.dumps(dict(column.parameters), sort_keys=True)
    return column.protection, column.domain, column.scope, column.keyset_id, version, parameters


def _in_words(column: ColumnStatus) -> str:
    if column.domain:
        key = f"keyset {column.keyset_id!r}, key version {column.key_version}"
        return f"{column.protection} (domain {column.domain!r}, {key})"
    if column.parameters:
        return f"{column.protection} {dict(column.parameters)}"
    return f"protection {column.protection}"


@contextmanager
def manifest_failures() -> Iterator[None]:
    """As :func:`postgres_failures`, and says how to make the tables where they are missing."""
    missing = False
    with postgres_failures("schema secure_provider"):
        try:
            yield
        except (UndefinedTable, InvalidSchemaName):
            missing = True
    if missing:
        raise_alone(
            ConfigurationError(
                "the tables of schema secure_provider are missing in the target database; "
                "make them once: airflow-secure db init | psql …"
            )
        )
