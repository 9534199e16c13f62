"""A command that accepts any certificate."""

from __future__ import annotations

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG("s17", schedule=None):
    BashOperator(task_id="fetch", bash_command="curl -sSk https://api.example.com/v1")  # <- SP107
    BashOperator(
        task_id="fetch_well", bash_command="curl -sS --keepalive-time 5 https://api.example.com/v1/codes"
    )
