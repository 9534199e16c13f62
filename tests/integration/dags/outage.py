"""Thirty short tasks, whose events a lineage server shall have in the end."""

from __future__ import annotations

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Asset

with DAG("outage", schedule=None):
    BashOperator.partial(
        task_id="short", inlets=[Asset("s3://lake/a.csv")], outlets=[Asset("s3://lake/b.csv")]
    ).expand(bash_command=["true"] * 30)
