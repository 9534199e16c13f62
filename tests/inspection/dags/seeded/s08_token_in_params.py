"""A token as a DAG's parameter, which everybody sees in the form."""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

with DAG(
    "s08",
    schedule=None,
    params={
        "api_token": Param("q7RkP2xv9LmZ4tWc8sNd", type="string"),  # <- SP104
        "page_token": Param("", type=["null", "string"]),
        "token_variable": "crm_api_token",
        "secret": "kv/data/crm",
    },
):
    EmptyOperator(task_id="nothing")
