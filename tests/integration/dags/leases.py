"""DAGs that work with leased credentials in all the ways in which a task can end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.sdk import DAG, BaseHook, BaseOperator, get_current_context, task
from airflow.triggers.base import BaseTrigger, TriggerEvent
from airflow.triggers.temporal import TimeDeltaTrigger
from asgiref.sync import sync_to_async

from airflow_secure_provider.operators import (
    EncryptedS3ToPostgresOperator,
    VaultReadyOperator,
    VaultReadySensor,
)


def stock(name: str, sql: str = "SELECT 1", **arguments: object) -> None:
    with DAG(f"lease_{name}", schedule=None):
        SQLExecuteQueryOperator(task_id="query", conn_id="crm", sql=sql, **arguments)


stock("stock")
stock("rendered", "SELECT '{{ conn.crm.login }}', '{{ conn.crm.password }}'", do_xcom_push=False)
stock("failed", "SELECT 1/0")
stock("retried", "SELECT 1/0", retries=1, retry_delay=timedelta(seconds=1))
stock("timed_out", "SELECT pg_sleep(60)", execution_timeout=timedelta(seconds=2))
stock("long", "SELECT pg_sleep(59)")


class Deferring(BaseOperator):
    """Uses the connection, waits in the triggerer, and uses it again."""

    def execute(self, context: object) -> None:
        self.use(context)
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=1)), method_name="use")

    def use(self, context: object, event: object = None) -> None:
        from airflow.providers.postgres.hooks.postgres import PostgresHook

        user = PostgresHook(postgres_conn_id="crm").get_first("SELECT current_user")[0]
        self.log.info("worked")
        context["ti"].xcom_push("kind", user[:2])  # type: ignore[index]


with DAG("lease_deferred", schedule=None):
    Deferring(task_id="query")

with DAG("lease_many", schedule=None, max_active_tasks=20):

    @task(retries=0)
    def work(number: int) -> int:
        from airflow.providers.postgres.hooks.postgres import PostgresHook

        hook = PostgresHook(postgres_conn_id="crm")
        users = {hook.get_first("SELECT current_user")[0] for _ in range(3)}
        time.sleep(2 if get_current_context()["ti"].map_index % 5 else 30)  # each fifth waits to be killed
        return len(users)

    work.expand(number=list(range(20)))

with DAG("lease_short", schedule=None):
    EncryptedS3ToPostgresOperator(
        task_id="load",
        source="s3://customer-lake/missing.csv",  # never looked at
        table="crm.people",
        columns={"id": "none"},
        postgres_conn_id="crm",
        min_ttl="30h",
        retries=2,
    )

with DAG("lease_ready", schedule=None):
    VaultReadyOperator(task_id="ready", conn_ids=["crm"], min_ttl="20m")

with DAG("lease_wait", schedule=None):
    VaultReadySensor(task_id="ready", conn_ids=["crm"], deferrable=True, poke_interval=1, timeout=60)

with DAG("lease_two", schedule=None):
    SQLExecuteQueryOperator(task_id="one", conn_id="crm", sql="SELECT 1") >> SQLExecuteQueryOperator(
        task_id="two", conn_id="crm", sql="SELECT 2"
    )


class Asking(BaseTrigger):
    """Looks the connection up twice, works with it for a while, and ends."""

    def __init__(self, conn_id: str) -> None:
        super().__init__()
        self.conn_id = conn_id

    def serialize(self) -> tuple[str, dict[str, str]]:
        return "leases.Asking", {"conn_id": self.conn_id}  # this file, as PYTHONPATH finds it

    async def run(self) -> AsyncIterator[TriggerEvent]:
        first, second = [await sync_to_async(BaseHook.get_connection)(self.conn_id) for _ in range(2)]
        # Longer than a busy scheduler takes to hear that the task has deferred: it would fail one that is queued again by then.
        await asyncio.sleep(5)
        yield TriggerEvent({"same": first.login == second.login})


class AskingInTheTriggerer(BaseOperator):
    def execute(self, context: object) -> None:
        self.defer(trigger=Asking("crm"), method_name="done")

    def done(self, context: object, event: dict[str, bool]) -> bool:
        return event["same"]


with DAG("lease_trigger", schedule=None):
    AskingInTheTriggerer(task_id="query")
