"""A small world for transfers: a bucket, KMS keys, a keyset, a database with crm.customers, and what is told of it."""

from __future__ import annotations

import csv
import io
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import aws_encryption_sdk
import psycopg
from aws_encryption_sdk.identifiers import Algorithm, CommitmentPolicy
from aws_encryption_sdk.internal.formatting import header_length
from aws_encryption_sdk.key_providers.kms import KMSMasterKey
from psycopg import sql

from airflow_secure_provider.contract.contract import Contract, from_columns
from airflow_secure_provider.crypto import keyset
from airflow_secure_provider.crypto.keyset import Keyset, KeysetDocument
from airflow_secure_provider.keyrings.aws_kms import AwsKmsKeyring
from airflow_secure_provider.model import AtRest, ColumnRule, Evidence, InTransit, Protection
from airflow_secure_provider.protection.reversible import ColumnCipher
from airflow_secure_provider.reports import TransferReport
from airflow_secure_provider.stores.ddl import DDL
from airflow_secure_provider.transfer import Options, PostgresSource, S3Source, Source, TableTarget, transfer
from sandbox.aws import Aws
from sandbox.postgres import Database, Postgres

SIGNED = Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384
UNSIGNED = Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
CONTEXT = {"dataset": "crm.customers"}

BUCKET = "lake"
CANARY = "Zq7canary"
"""Stands in every protected value of the world's rows; must not be said by any error or log."""

HEADER = ("id", "email", "ssn", "birth_date", "amount", "notes")
COLUMNS: Mapping[str, Any] = {
    "id": {"method": "none", "type": "integer"},
    "email": {"method": "tokenize", "domain": "person-email", "classification": "restricted"},
    "ssn": {"method": "tokenize", "domain": "ssn", "classification": "restricted"},
    "birth_date": {"method": "encrypt", "type": "date", "classification": "confidential"},
    "amount": "none",
    "notes": {"method": "encrypt", "scope": "customers.notes"},
}
NOTHING = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid();
DROP SCHEMA IF EXISTS crm, secure_provider CASCADE;
"""
TABLE = """
CREATE SCHEMA crm;
CREATE TABLE crm.customers (id bigint PRIMARY KEY, email text, ssn bytea, birth_date bytea,
    amount numeric(12,2) CONSTRAINT amount_is_no_debt CHECK (amount >= 0), notes text);
"""

Row = tuple[str | None, ...]


def customers(count: int, first: int = 1) -> list[Row]:
    """Rows of crm.customers, each sensitive value with the canary in it."""
    return [
        (
            str(number),
            f"{CANARY}.{number}@example.com",
            f"{CANARY}-{number:09d}",
            f"19{number % 90 + 10:02d}-01-{number % 28 + 1:02d}",
            f"{number % 1000}.25",
            f"{CANARY} note {number}",
        )
        for number in range(first, first + count)
    ]


def as_csv(rows: Iterable[Row], header: Iterable[str] = HEADER) -> bytes:
    """Null is an unquoted empty field; every other value is quoted."""
    lines = [",".join(header)]
    lines += [
        ",".join("" if value is None else '"' + value.replace('"', '""') + '"' for value in row)
        for row in rows
    ]
    return ("\n".join(lines) + "\n").encode()


@dataclass(frozen=True, slots=True)
class Message:
    """An Encryption SDK message and where its parts begin (message format version 2)."""

    data: bytes
    header: int
    frame_length: int
    plain_length: int

    FRAME_HEAD = 4 + 12  # sequence number, IV
    TAG = 16

    @property
    def frames(self) -> int:
        """Whole frames before the last one."""
        return max(self.plain_length - 1, 0) // self.frame_length

    @property
    def last_frame(self) -> int:
        return self.header + self.frames * (self.FRAME_HEAD + self.frame_length + self.TAG)

    @property
    def footer(self) -> int:
        """Where the last frame ends: after its end mark (4), head, length (4), content and tag."""
        content = self.plain_length - self.frames * self.frame_length
        return self.last_frame + 4 + self.FRAME_HEAD + 4 + content + self.TAG

    def flipped(self, position: int, mask: int = 0x01) -> bytes:
        changed = bytearray(self.data)
        changed[position] ^= mask
        return bytes(changed)


@dataclass(frozen=True, slots=True)
class Lake:
    """S3 and KMS, and the keys of the tests. One for the session."""

    aws: Aws
    s3: Any
    kms: Any
    key: str
    other_key: str
    keyset: Keyset
    document: KeysetDocument

    @classmethod
    def made(cls, aws: Aws) -> Lake:
        s3, kms = aws.client("s3"), aws.client("kms")
        key, other = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": aws.region})
        document = keyset.create("customers", AwsKmsKeyring(key, kms))
        opened = keyset.unwrap(document, AwsKmsKeyring(key, kms))
        return cls(aws, s3, kms, key, other, opened, document)

    def encrypt(
        self,
        plain: bytes,
        *,
        context: Mapping[str, str] = CONTEXT,
        frame_length: int = 4096,
        suite: Algorithm = UNSIGNED,
        key: str | None = None,
    ) -> Message:
        client = aws_encryption_sdk.EncryptionSDKClient(
            commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
        )
        data, header = client.encrypt(
            source=plain,
            key_provider=KMSMasterKey(key_id=key or self.key, client=self.kms),
            encryption_context=dict(context),
            frame_length=frame_length,
            algorithm=suite,
        )
        return Message(data, header_length(header), frame_length, len(plain))

    def put(self, body: bytes, **settings: Any) -> str:
        """Store under a key of its own. :return: its URI."""
        key = f"in/{secrets.token_hex(6)}.csv"
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body, **settings)
        return f"s3://{BUCKET}/{key}"


@dataclass(frozen=True, slots=True)
class World:
    """A database with the schemas of this test beside the session's lake."""

    lake: Lake
    database: Database
    declared: Mapping[str, AtRest] = field(default_factory=dict)

    @classmethod
    def made(cls, lake: Lake, database: Database) -> World:
        namespace = f"postgres://{database.server.host}:{database.server.port}"
        volume = AtRest("volume", "LUKS", evidence=Evidence.DECLARED)
        world = cls(lake, database, {namespace: volume})
        world.execute(NOTHING + DDL + TABLE)
        return world

    def execute(self, statement: str) -> None:
        with self.database.connect() as connection:
            connection.execute(statement)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with self.database.connect() as connection:
            return connection.execute(statement).fetchall()

    def options(self, **changes: Any) -> Options:
        return replace(Options(keyset=self.lake.keyset, declared_at_rest=self.declared), **changes)

    def source(
        self,
        uri: str,
        *,
        context: Mapping[str, str] = CONTEXT,
        key_arns: Collection[str] | None = None,
        client: Any = None,
        kms: Any = None,
    ) -> S3Source:
        return S3Source(client or self.lake.s3, lambda arn: kms or self.lake.kms, uri, context, key_arns)

    def table_source(self, table: str = "crm.customers", **settings: Any) -> PostgresSource:
        return PostgresSource(self.database.connect, table, **settings)

    def load(
        self,
        source: Source | bytes | str,
        columns: Mapping[str, Any] | Contract = COLUMNS,
        table: str = "crm.customers",
        *,
        mode: str = "append",
        options: Options | None = None,
        task: str | None = "dag/task/run/-1",
        target: Mapping[str, Any] | None = None,
        **hooks: Any,
    ) -> TransferReport:
        """Transfer. Bytes are the body of an object that is put first, text is the URI of one."""
        if isinstance(source, bytes):
            source = self.lake.put(source)
        if isinstance(source, str):
            source = self.source(source)
        contract = columns if isinstance(columns, Contract) else from_columns(columns, "crm.customers")
        where = TableTarget(
            **{"connect": self.database.connect, "table": table, "mode": mode, **(target or {})}
        )
        return transfer(source, contract, where, options or self.options(), task=task, **hooks)

    def load_rows(self, rows: Iterable[Row], **settings: Any) -> TransferReport:
        return self.load(self.lake.encrypt(as_csv(rows)).data, **settings)

    def state(self, *tables: str) -> dict[str, list[tuple[Any, ...]] | None]:
        """Everything a load could have changed: the rows, what is recorded of loads, and of columns."""
        names = tables or ("crm.customers",)
        with self.database.connect() as connection:
            return {
                name: _rows(connection, name)
                for name in (*names, "secure_provider.load_manifest", "secure_provider.column_state")
            }

    def reveal(self, column: str, cells: Iterable[bytes | str | None]) -> list[str | None]:
        """What cells of crm.customers hold."""
        return reveal(self.lake.keyset, from_columns(COLUMNS, "crm.customers"), column, cells)


def reveal(
    keys: Keyset, contract: Contract, column: str, cells: Iterable[bytes | str | None]
) -> list[str | None]:
    import pyarrow as pa

    rule: ColumnRule = next(rule for rule in contract.rules if rule.name == column)
    assert rule.protection in (Protection.TOKENIZE, Protection.ENCRYPT)
    return list(ColumnCipher(rule, keys).reveal(pa.array(list(cells))).to_pylist())


def _rows(connection: psycopg.Connection[Any], table: str) -> list[tuple[Any, ...]] | None:
    found = connection.execute("SELECT to_regclass(%s)", (table,)).fetchone()
    if found is None or found[0] is None:
        return None
    name = sql.Identifier(*table.split("."))
    return connection.execute(sql.SQL("SELECT t::text FROM {} t ORDER BY 1").format(name)).fetchall()


def parsed(text: bytes) -> list[list[str]]:
    """Python's own reading of a CSV, as a second opinion."""
    return list(csv.reader(io.StringIO(text.decode(), newline="")))


# --- sources that stop on their way ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Watched:
    """A source that tells of every batch, and gives smaller ones.

    :param on_batch: called with the number of each batch from 1 before it is given, in the reading thread.
    :param on_end: called before the source is asked whether it is whole.
    """

    inner: Source
    on_batch: Callable[[int], None] = lambda number: None
    on_end: Callable[[], None] = lambda: None
    batch_rows: int = 1_000

    @property
    def where(self) -> str:
        return self.inner.where

    @property
    def transport_ahead(self) -> InTransit:
        return self.inner.transport_ahead

    def open(self, declared: Mapping[str, AtRest], rules: Sequence[ColumnRule] = ()) -> Any:
        return _OpenWatched(self, self.inner.open(declared, rules))


class _OpenWatched:
    def __init__(self, watched: Watched, opened: Any) -> None:
        self._watched = watched
        self._opened = opened

    def __getattr__(self, name: str) -> Any:
        return getattr(self._opened, name)

    def batches(self) -> Iterator[Any]:
        size, number = self._watched.batch_rows, 0
        for batch in self._opened.batches():
            for start in range(0, batch.num_rows, size):
                number += 1
                self._watched.on_batch(number)
                yield batch.slice(start, size)

    def finish(self) -> None:
        self._watched.on_end()
        self._opened.finish()


def wait_until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return found


def copied_rows(server: Postgres | Database) -> int:
    """How many rows the server has taken in the COPY that is running; 0 if none is."""
    with server.connect() as connection:
        row = connection.execute("SELECT max(tuples_processed) FROM pg_stat_progress_copy").fetchone()
    return int(row[0] or 0) if row else 0


def in_background(*calls: Callable[[], Any]) -> list[Any]:
    """Run all at the same time. :return: what each returned or raised."""
    results: list[Any] = [None] * len(calls)

    def run(index: int, call: Callable[[], Any]) -> None:
        try:
            results[index] = call()
        except BaseException as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return results
