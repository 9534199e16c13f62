"""SQL that exports from inside of the database."""

from __future__ import annotations

from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.sdk import DAG

with DAG("s27", schedule=None):
    SQLExecuteQueryOperator(  # <- SP101
        task_id="unload",
        conn_id="warehouse",
        sql="SELECT * FROM aws_s3.query_export_to_s3('SELECT * FROM crm.people', 'open-data', 'p.csv')",
    )
    SQLExecuteQueryOperator(task_id="count", conn_id="crm", sql="SELECT count(*) FROM crm.people")
