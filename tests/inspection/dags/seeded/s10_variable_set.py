"""A secret is put into a variable by code that stays."""

from __future__ import annotations

from airflow.sdk import Variable, dag, task


@dag(schedule=None)
def s10():
    @task
    def prepare(given: str):
        Variable.set("crm_client_secret", "hunter2-hunter2")  # <- SP104
        Variable.set("crm_client_secret_rotated_on", "2026-11-20")
        Variable.set("crm_client_secret", given)

    prepare("{{ var.value.other }}")


s10()
