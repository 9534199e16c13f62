"""The DAGs of the Vault benchmark; Airflow parses this file, in a folder of its own."""

from __future__ import annotations

import atexit
import json
import os
import time
from pathlib import Path
from typing import Any

from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.sdk import DAG, get_current_context, task

PAIRS = 24
TASKS = 100
KILLED_EACH = 5  # the fifth part is killed
STATEMENTS = ["SET ROLE crm_owner", "SELECT count(*) FROM crm.orders"]


def write_when_done(context: dict[str, Any]) -> None:
    """How long this process has lived, at its very end: after the lease was given back."""
    path = Path(os.environ["BENCH_TIMES"]) / f"{context['ti'].task_id}.json"

    def write() -> None:
        ticks = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
        began = int(ticks) / os.sysconf("SC_CLK_TCK")
        path.write_text(json.dumps({"seconds": time.clock_gettime(time.CLOCK_BOOTTIME) - began}))

    atexit.register(write)


def query(task_id: str, conn_id: str) -> SQLExecuteQueryOperator:
    return SQLExecuteQueryOperator(
        task_id=task_id,
        conn_id=conn_id,
        sql=STATEMENTS,
        on_execute_callback=write_when_done,
        do_xcom_push=False,
    )


with DAG("bench_pairs", schedule=None):
    last = None
    for number in range(PAIRS):
        pair = [query(f"environment_{number}", "crm_env"), query(f"vault_{number}", "crm")]
        for each in pair if number % 2 else reversed(pair):
            if last is not None:
                last >> each
            last = each

with DAG("bench_many", schedule=None, max_active_tasks=10):

    @task(retries=0)
    def work(number: int) -> None:
        from airflow.providers.postgres.hooks.postgres import PostgresHook

        hook = PostgresHook(postgres_conn_id="crm")
        for _ in range(3):
            hook.get_first("SELECT 1")
        if get_current_context()["ti"].map_index % KILLED_EACH == 0:
            time.sleep(300)  # until it is killed

    work.expand(number=list(range(TASKS)))
