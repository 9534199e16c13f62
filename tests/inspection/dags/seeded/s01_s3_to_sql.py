"""People are loaded by the stock operator; countries too, and they may be."""

from __future__ import annotations

import csv

from airflow.providers.amazon.aws.transfers.s3_to_sql import S3ToSqlOperator
from airflow.sdk import DAG

BUCKET = "customer-lake"


def rows(path):
    with open(path) as file:
        yield from csv.reader(file)


with DAG("s01", schedule=None):
    S3ToSqlOperator(  # <- SP101 SP101
        task_id="people",
        s3_bucket=BUCKET,
        s3_key="people/{{ ds }}.csv",
        table="people",
        schema="crm",
        parser=rows,
    )
    S3ToSqlOperator(
        task_id="countries",
        s3_bucket="open-data",
        s3_key="countries.csv",
        table="countries",
        schema="ref",
        parser=rows,
    )
