"""The DAG of the lineage benchmark; Airflow parses this file, in a folder of its own."""

from __future__ import annotations

import atexit
import csv
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow.providers.amazon.aws.transfers.s3_to_sql import S3ToSqlOperator
from airflow.sdk import DAG

COLUMNS = [f"c{number}" for number in range(12)]


def write_when_done(context: dict[str, Any]) -> None:
    """How long this process has lived and worked, at its very end: after its last event."""
    path = Path(os.environ["BENCH_TIMES"]) / f"{context['ti'].run_id}.json"

    def write() -> None:
        ticks = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
        began = int(ticks) / os.sysconf("SC_CLK_TCK")
        spent = os.times()  # with its forks, which send the events
        told = {
            "seconds": time.clock_gettime(time.CLOCK_BOOTTIME) - began,
            "cpu_seconds": spent.user + spent.system + spent.children_user + spent.children_system,
        }
        path.write_text(json.dumps(told))

    atexit.register(write)


def rows(path: str) -> Iterator[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        yield from csv.reader(file)


with DAG("bench_lineage", schedule=None):
    S3ToSqlOperator(
        task_id="load",
        s3_bucket="customer-lake",
        s3_key="bench.csv",
        table="crm.bench",
        column_list=COLUMNS,
        parser=rows,
        sql_conn_id="crm_env",
        on_execute_callback=write_when_done,
    )
