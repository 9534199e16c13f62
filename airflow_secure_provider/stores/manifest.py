"""What has been loaded: a table beside the data, written in its transaction."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass

from psycopg.errors import InvalidSchemaName, UndefinedTable

from ..errors import ConfigurationError, ContractError, raise_alone
from .postgres import Connection
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


def queue(connection: Connection, target: str) -> None:
    """Wait for other replacements of the target, until this session ends or :func:`claim`'s transaction has."""
    with manifest_failures():
        connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (f"secure_provider:{target}",))


def is_current(connection: Connection, key: LoadKey) -> bool:
    """Whether the target was replaced by this very load, and nothing was loaded after it."""
    with manifest_failures():
        current = connection.execute(
            "SELECT mode, source, source_version, options, contract_digest, keysets FROM secure_provider.load_manifest "
            "WHERE target = %s AND superseded_at IS NULL LIMIT 2",
            (key.target,),
        ).fetchall()
    identity = (key.source, key.source_version, key.options, key.contract_digest, key.keysets)
    return current == [("replace", *identity)]


def has(connection: Connection, key: LoadKey) -> bool:
    """Whether this very load has been appended, and is there still."""
    with manifest_failures():
        found = connection.execute(
            "SELECT EXISTS (SELECT FROM secure_provider.load_manifest WHERE target = %s AND source = %s AND source_version = %s "
            "AND options = %s AND superseded_at IS NULL)",
            (key.target, key.source, key.source_version, key.options),
        ).fetchone()
    return bool(found and found[0])


def claim(
    connection: Connection,
    key: LoadKey,
    mode: str,
    task: str | None,
    *,
    versioned: bool = True,
    force: bool = False,
) -> int | None:
    """Insert the manifest row, inside the load's transaction.

    Waits for another load of the same target in mode replace, and of the same object in mode append.

    :param versioned: the source has a version of its own, so that the same one means the same rows. What has none is
        read again by every run that replaces, since it may have changed.
    :param force: load although it has been loaded before.
    :return: the row's id; ``None`` if this very load has been committed before and nothing is to be done.
    :raises ContractError: if it would append an object again under another contract.
    """
    with manifest_failures():
        if mode == "replace":
            lock(connection, key.target)
            if versioned and not force and is_current(connection, key):
                return None
            # Whatever the table held goes away, so its loads may be repeated.
            connection.execute(
                "UPDATE secure_provider.load_manifest SET superseded_at = now() "
                "WHERE target = %s AND superseded_at IS NULL",
                (key.target,),
            )
        else:
            lock(connection, key.target, key.source, key.source_version)
            if force:
                _supersede(connection, key)
            elif mode == "append" and versioned:
                _refuse_other_contract(connection, key)
        row = connection.execute(
            "INSERT INTO secure_provider.load_manifest "
            "(target, source, source_version, options, contract_digest, keysets, mode, task) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING id",
            (*astuple(key), mode, task),
        ).fetchone()
    return int(row[0]) if row else None


def lock(connection: Connection, *names: str) -> None:
    """Others of the same names wait until this transaction ends."""
    name = "secure_provider:" + json.dumps(names) if len(names) > 1 else f"secure_provider:{names[0]}"
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (name,))


def _supersede(connection: Connection, key: LoadKey) -> None:
    connection.execute(
        "UPDATE secure_provider.load_manifest SET superseded_at = now() "
        "WHERE target = %s AND source = %s AND source_version = %s AND superseded_at IS NULL",
        (key.target, key.source, key.source_version),
    )


def _refuse_other_contract(connection: Connection, key: LoadKey) -> None:
    row = connection.execute(
        "SELECT contract_digest, loaded_at::text FROM secure_provider.load_manifest "
        "WHERE target = %s AND source = %s AND source_version = %s AND superseded_at IS NULL "
        "AND contract_digest <> %s LIMIT 1",
        (key.target, key.source, key.source_version, key.contract_digest),
    ).fetchone()
    if row is not None:
        digest, at = row
        raise ContractError(
            f"{key.source}: this version of it is in {key.target} already, under another contract (digest {digest[:12]}…, loaded "
            f"{at}), and would be appended again under the digest {key.contract_digest[:12]}…: mode='replace' makes the table "
            "anew; force=True appends it twice"
        )


def complete(connection: Connection, manifest_id: int, rows: int) -> None:
    with manifest_failures():
        connection.execute(
            "UPDATE secure_provider.load_manifest SET rows = %s WHERE id = %s", (rows, manifest_id)
        )


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
