"""A task of which nobody knows more than that it updates an asset; its name is hostile."""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset

with DAG("dark", schedule=None):
    EmptyOperator(task_id="write", outlets=[Asset(name="dark", uri="s3://elsewhere/=1+1<b>.csv")])
