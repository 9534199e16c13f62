"""The query of an export reads people in a join."""

from __future__ import annotations

from airflow.providers.amazon.aws.transfers.sql_to_s3 import SqlToS3Operator
from airflow.sdk import DAG

with DAG("s02", schedule=None):
    SqlToS3Operator(  # <- SP101
        task_id="export",
        query="""
            SELECT c.code, count(*)
            FROM ref.countries AS c
            JOIN "crm"."people" AS p ON p.country = c.code
            WHERE p.seen >= '{{ ds }}'
            GROUP BY 1
        """,
        s3_bucket="open-data",
        s3_key="people-per-country.csv",
        sql_conn_id="crm",
    )
    SqlToS3Operator(
        task_id="countries",
        query="SELECT code FROM ref.countries -- not from crm_people_archive",
        s3_bucket="open-data",
        s3_key="codes.csv",
        sql_conn_id="crm",
    )
