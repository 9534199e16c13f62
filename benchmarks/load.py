"""Whole loads: rows a second beside psql and the stock operator, several at a time, and peak memory of up to 10 GiB."""

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

MIB = 1 << 20
_SIZES = {"100mib": 100 * MIB, "1gib": 1 << 30, "10gib": 10 << 30}
_FRAMES = {"1mib": MIB, "4kib": 4096}
_LONGEST_SECONDS = 1_800
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
            key = aws.client("kms").create_key()["KeyMetadata"]["Arn"]
            with postgres.connect() as connection:
                connection.execute(DDL + _TABLE)
            for size, wanted in _SIZES.items():
                peaks = []
                for frames, frame_bytes in _FRAMES.items():
                    done = _load(directory, authority, postgres, aws, key, wanted, frame_bytes)
                    peaks.append(done["rss_kib"] / 1024)
                    yield f"rss_mib_{size}_{frames}_frames", peaks[-1]
                    yield f"rows_per_second_{size}_{frames}_frames", done["rows"] / done["seconds"]
                yield f"rss_mib_{size}", max(peaks)


def _load(
    directory: Path,
    authority: Authority,
    postgres: Postgres,
    aws: Aws,
    key: str,
    wanted: int,
    frame_bytes: int,
) -> dict[str, Any]:
    """One object of at least *wanted* bytes in a process that has done nothing before; and its rows counted."""
    rows = -(-wanted // ROW_BYTES)
    with postgres.connect(autocommit=True) as connection:
        connection.execute("TRUNCATE crm.customers; DELETE FROM secure_provider.load_manifest")
    here = directory / f"{wanted}-{frame_bytes}"
    here.mkdir()
    with serving(
        here, authority, postgres, aws, "benchmarks._object", key, rows=rows, frame_bytes=frame_bytes
    ) as (settings_file, environment):
        child = subprocess.run(
            [sys.executable, "-m", "benchmarks._transfer", str(settings_file)],
            stdout=subprocess.PIPE,
            check=True,
            timeout=_LONGEST_SECONDS,
            env=environment,
            cwd=REPOSITORY,
        )
    done: dict[str, Any] = json.loads(child.stdout)
    with postgres.connect() as connection:
        stored = connection.execute("SELECT count(*), sum(id) FROM crm.customers").fetchone()
    if (done["rows"], stored) != (rows, (rows, rows * (rows - 1) // 2)) or done["bytes_read"] < wanted:
        raise AssertionError(f"{rows} rows were served, {done['rows']} loaded, {stored} stored")
    if done["airflow"]:
        raise AssertionError("the transfer imported Airflow")
    return done
