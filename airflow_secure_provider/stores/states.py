"""How each column of a loaded table stands: a table beside the data, written in the load's transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from ..errors import ContractError, StoreUnavailable
from ..model import ColumnStatus, ContractRef, Protection, recorded_status
from .manifest import manifest_failures
from .postgres import Connection, TableName


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
            "SELECT column_name, classification, protection, domain, scope, keyset_id, key_version, parameters, "
            "(SELECT format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute "
            "WHERE attrelid = to_regclass(%s) AND attname = column_name AND NOT attisdropped) "
            "FROM secure_provider.column_state WHERE target = %s",
            (table.identifier.as_string(connection), str(table)),
        ).fetchall()
    return {row[0]: replace(recorded_status(*row[:-1]), type=row[-1]) for row in rows}


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
                f"{version}, so its values don't join: move the domain to one version with ReprotectColumnsOperator"
            )
    return versions


def hold_domains(
    connection: Connection, columns: Sequence[ColumnStatus], *, besides: TableName | None = None
) -> None:
    """Keep the domains of deterministic columns at their key versions until the transaction ends.

    Loads into one domain go on side by side. A re-protection waits for them, and they for it; the first load into a domain
    decides about its version, and others wait for it.

    :param columns: what is about to be written.
    :param besides: a table whose values are about to be replaced, and so don't count.
    :raises StoreUnavailable: if a domain has another version meanwhile; a retry of the load takes that one.
    """
    planned = {
        (column.keyset_id, column.protection, column.domain): column.key_version
        for column in columns
        if column.protection.deterministic and column.keyset_id and column.domain and column.key_version
    }
    for keyset_id, protection, domain in sorted(planned):
        wanted = [(protection, domain)]
        known = read_domain_versions(connection, keyset_id, wanted, besides=besides)
        lock_domain(connection, keyset_id, protection, domain, shared=bool(known))
        version = read_domain_versions(connection, keyset_id, wanted, besides=besides).get(wanted[0])
        ours = planned[keyset_id, protection, domain]
        if version not in (None, ours):
            raise StoreUnavailable(
                f"domain {domain!r} ({protection}) stands under key version {version} of keyset {keyset_id!r} since this load "
                f"was prepared with version {ours}: nothing was committed; run it again"
            )


def lock_domain(
    connection: Connection, keyset_id: str, protection: Protection, domain: str, *, shared: bool
) -> None:
    """Until the transaction ends."""
    name = json.dumps(["secure_provider", keyset_id, protection, domain])
    _lock(connection, name, 2, shared=shared)


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
    lock_states(connection, table, shared=not changes)
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


def lock_states(connection: Connection, table: TableName, *, shared: bool) -> None:
    _lock(connection, f"secure_provider:{table}", 1, shared=shared)


def _lock(connection: Connection, name: str, seed: int, *, shared: bool) -> None:
    function = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    with manifest_failures():
        connection.execute(f"SELECT {function}(hashtextextended(%s, %s))", (name, seed))


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
