"""Invoices are confidential."""

from __future__ import annotations

from airflow.providers.amazon.aws.transfers.sql_to_s3 import SqlToS3Operator
from airflow.sdk import DAG

with DAG("s05", schedule=None):
    SqlToS3Operator(  # <- SP102
        task_id="export",
        query="select id, amount from crm.invoices where day = '{{ ds }}'",
        sql_conn_id="crm",
        s3_bucket="open-data",
        s3_key="invoices/{{ ds }}.csv",
    )
