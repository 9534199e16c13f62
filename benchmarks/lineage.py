"""What lineage costs a task beyond the stock OpenLineage provider; the graph of many events; and what an outage loses.

The tasks are Airflow's own S3ToSqlOperator in two real Airflows, which run in turn: one has never heard of this package.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow_secure_provider.lineage.setup import EXTRACTORS, TRANSPORT
from benchmarks._connections import connection_of_the_environment
from benchmarks._lineage_dags import COLUMNS
from benchmarks._lineage_graph import graph_figures
from benchmarks._lineage_outage import outage
from sandbox.airflow import Airflow
from sandbox.environment import short_directory
from sandbox.making import DATABASE, LAKE
from sandbox.world import World, running_world
from tests.lineage.server import LineageServer

ROUNDS = 24
_COLD = 2  # the first ones warm up disks and caches
_LONGEST_SECONDS = 600.0
_DAGS = Path(__file__).with_name("_lineage_dags.py")


def figures() -> Iterator[tuple[str, float]]:
    with short_directory() as directory, running_world(directory) as world, LineageServer() as server:
        yield from _cost(world, server, directory, _make_data(world))
    yield from graph_figures()
    with tempfile.TemporaryDirectory() as directory:
        seen = outage(Path(directory))
        yield "runs_in_outage", float(len(seen.runs))
        yield "lost_events", float(seen.lost + seen.failed)


def _cost(world: World, server: LineageServer, directory: Path, crm: str) -> Iterator[tuple[str, float]]:
    http = {"type": "http", "url": server.url}
    ours = {"type": TRANSPORT, "spool": str(directory / "spool"), "transport": http}
    without = {"PYTHONPATH": str(Path(__file__).with_name("_without_us"))}
    with (
        _airflow(world, crm, directory / "stock", http, without) as stock,
        _airflow(
            world, crm, directory / "ours", ours, {"AIRFLOW__OPENLINEAGE__EXTRACTORS": EXTRACTORS}
        ) as secure,
    ):
        for number in range(ROUNDS):
            for airflow in (stock, secure) if number % 2 else (secure, stock):
                when = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)
                run_id = airflow.trigger("bench_lineage", logical_date=when)
                if airflow.wait("bench_lineage", run_id, _LONGEST_SECONDS) != "success":
                    raise AssertionError("a task of the benchmark failed")
    theirs, our = (_told(directory / name)[_COLD:] for name in ("stock", "ours"))
    for what, name in (("seconds", "ms_per_task"), ("cpu_seconds", "cpu_ms_per_task")):
        pairs = [1000 * (after[what] - before[what]) for before, after in zip(theirs, our, strict=True)]
        yield f"added_{name}", statistics.median(pairs)
        yield f"{name}_of_the_stock_provider", 1000 * statistics.median(each[what] for each in theirs)
    done = [event for event in server.events if event["eventType"] == "COMPLETE" and event["outputs"]]
    told = [event for event in done if "secureProvider_encryption" in event["outputs"][0]["facets"]]
    if len(told) != ROUNDS:
        raise AssertionError(f"{len(told)} COMPLETE events with datasets, expected {ROUNDS}")
    yield "event_bytes", statistics.median(len(json.dumps(event, separators=(",", ":"))) for event in told)


def _make_data(world: World) -> str:
    """An object of two rows, and a table. :return: the connection to it."""
    body = "\n".join(",".join("x" for _ in COLUMNS) for _ in range(2))
    world.aws.client("s3").put_object(Bucket=LAKE, Key="bench.csv", Body=body.encode())
    connection = connection_of_the_environment(world)
    with world.postgres.connect(dbname=DATABASE, autocommit=True) as there:
        columns = ", ".join(f"{name} text" for name in COLUMNS)
        there.execute(f"CREATE TABLE crm.bench ({columns})".encode())
        there.execute("GRANT USAGE ON SCHEMA crm TO bench_env")
        there.execute("GRANT INSERT ON crm.bench TO bench_env")
    return connection


def _airflow(
    world: World, crm: str, directory: Path, transport: Mapping[str, Any], more: Mapping[str, str]
) -> Airflow:
    dags, times = directory / "dags", directory / "times"
    dags.mkdir(parents=True)
    times.mkdir()
    (dags / "lineage_dags.py").write_text(_DAGS.read_text())
    environment = {
        "AIRFLOW_CONN_CRM_ENV": crm,
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(world.aws.airflow_connection()),
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
        "BENCH_TIMES": str(times),
        **more,
    }
    return Airflow(directory, dags, environment)


def _told(directory: Path) -> list[dict[str, float]]:
    """Of each task, in the order of their ends."""
    files = sorted((directory / "times").glob("*.json"), key=os.path.getmtime)
    return [json.loads(file.read_text()) for file in files]
