"""A Python task dumps a restricted table through the stock hook."""

from __future__ import annotations

from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.sdk import dag, task


@dag(schedule=None)
def s03():
    @task
    def dump(path: str):
        hook = PostgresHook(postgres_conn_id="crm")
        hook.bulk_dump("crm.people", path)  # <- SP101

    @task
    def count() -> int:
        hook = PostgresHook(postgres_conn_id="crm")
        return hook.get_first("SELECT count(*) FROM crm.people")[0]

    dump("{{ params.path }}")
    count()


s03()
