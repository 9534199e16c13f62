"""Stock operators that the stock provider tells little or nothing of."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from airflow.providers.amazon.aws.transfers.s3_to_sql import S3ToSqlOperator
from airflow.providers.amazon.aws.transfers.sql_to_s3 import SqlToS3Operator
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.sdk import DAG


def rows(path: str) -> Iterator[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        next(reader)
        yield from reader


with DAG("stock_in", schedule=None):
    S3ToSqlOperator(
        task_id="load",
        s3_bucket="customer-lake",
        s3_key="stock.csv",
        table="crm.stock_people",
        column_list=["id", "name"],
        parser=rows,
        sql_conn_id="crm_env",
    )

with DAG("stock_out", schedule=None):
    SqlToS3Operator(
        task_id="save",
        query="SELECT id, name FROM crm.stock_people",
        s3_bucket="customer-lake",
        s3_key="out/people.csv",
        replace=True,
        sql_conn_id="crm_env",
    )

with DAG("stock_wrong", schedule=None):
    # The server's words for this hold the password, which was masked after OpenLineage had copied the masker.
    SQLExecuteQueryOperator(task_id="query", conn_id="crm", sql="SELECT '{{ conn.crm.password }}'::int")
