"""Whole loads: rows a second beside psql, and peak memory of 1 GiB over TLS in a process that does nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow_secure_provider.stores.ddl import DDL
from benchmarks import _messages, _throughput
from benchmarks._object import ROW_BYTES
from benchmarks._serving import serving
from sandbox.aws import Aws
from sandbox.ca import Authority
from sandbox.environment import REPOSITORY
from sandbox.postgres import Postgres

GIB = 1 << 30
ROWS = -(-GIB // ROW_BYTES)
_LONGEST_SECONDS = 900
_TABLE = """
CREATE SCHEMA crm;
CREATE UNLOGGED TABLE crm.customers (id bigint, email bytea, ssn bytea, birth_date bytea, amount numeric(12,2), notes text)
"""


def figures() -> Iterator[tuple[str, float]]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        yield from _throughput.figures(Path(name))
    yield from _messages.figures()
    yield from _memory()


def _memory() -> Iterator[tuple[str, float]]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        authority = Authority(directory / "ca")
        with (
            Postgres(directory / "postgres", authority) as postgres,
            Aws(directory / "aws", authority) as aws,
        ):
            done = _load(directory, authority, postgres, aws)
            with postgres.connect() as connection:
                stored = connection.execute(
                    "SELECT count(*), count(DISTINCT id) FROM crm.customers"
                ).fetchone()
    if (done["rows"], stored) != (ROWS, (ROWS, ROWS)) or done["bytes_read"] < GIB:
        raise AssertionError(f"{ROWS} rows were served, {done['rows']} loaded, {stored} stored")
    if done["airflow"]:
        raise AssertionError("the transfer imported Airflow")
    yield "rss_mib_1gib", done["rss_kib"] / 1024
    yield "seconds_1gib", done["seconds"]
    yield "rows_per_second_1gib", done["rows"] / done["seconds"]


def _load(directory: Path, authority: Authority, postgres: Postgres, aws: Aws) -> dict[str, Any]:
    kms = aws.client("kms")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    with postgres.connect() as connection:
        connection.execute(DDL + _TABLE)
    with serving(directory, authority, postgres, aws, "benchmarks._object", key, rows=ROWS) as (
        settings_file,
        environment,
    ):
        child = subprocess.run(
            [sys.executable, "-m", "benchmarks._transfer", str(settings_file)],
            stdout=subprocess.PIPE,
            check=True,
            timeout=_LONGEST_SECONDS,
            env=environment,
            cwd=REPOSITORY,
        )
    answer: dict[str, Any] = json.loads(child.stdout)
    return answer
