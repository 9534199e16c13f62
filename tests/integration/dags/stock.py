"""Stock operators that the stock provider tells little or nothing of."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator

from airflow.providers.amazon.aws.operators.s3 import (
    S3CopyObjectOperator,
    S3DeleteObjectsOperator,
    S3ListOperator,
)
from airflow.providers.amazon.aws.transfers.s3_to_sql import S3ToSqlOperator
from airflow.providers.amazon.aws.transfers.sql_to_s3 import SqlToS3Operator
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, Asset


def rows(path: str) -> Iterator[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        next(reader)
        yield from reader


def bulk_load() -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as file:
        file.write("3\tCid\n")
        file.flush()
        PostgresHook("crm_env").bulk_load("crm.stock_people", file.name)


def copy_out() -> None:
    with tempfile.NamedTemporaryFile("r", suffix=".csv") as file:
        PostgresHook("crm_env").copy_expert(
            "COPY (SELECT name FROM crm.stock_people) TO STDOUT WITH (FORMAT csv)", file.name
        )


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

with DAG("stock_awkward", schedule=None):
    S3ToSqlOperator(
        task_id="load",
        s3_bucket="customer-lake",
        s3_key="2026#1/at 12:00.csv",  # Marquez can't carry this name
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
    SqlToS3Operator(
        task_id="save_verified",
        query="SELECT id, name FROM crm.stock_people",
        s3_bucket="customer-lake",
        s3_key="out/verified.csv",
        replace=True,
        sql_conn_id="crm_verified",
    )

with DAG("stock_wrong", schedule=None):
    # The server's words for this hold the password, which was masked after OpenLineage had copied the masker.
    SQLExecuteQueryOperator(task_id="query", conn_id="crm", sql="SELECT '{{ conn.crm.password }}'::int")

with DAG("stock_others", schedule=None):
    PythonOperator(task_id="bulk_load", python_callable=bulk_load)
    PythonOperator(task_id="copy_out", python_callable=copy_out)
    S3ListOperator(task_id="names", bucket="customer-lake", prefix="out/")
    copy = S3CopyObjectOperator(
        task_id="copy",
        source_bucket_key="s3://customer-lake/stock.csv",
        dest_bucket_key="s3://customer-lake/copies/stock.csv",
    )
    copy >> S3DeleteObjectsOperator(task_id="remove", bucket="customer-lake", keys=["copies/stock.csv"])
    SQLExecuteQueryOperator(
        task_id="derive",
        conn_id="crm_env",
        sql="INSERT INTO crm.stock_names SELECT id, upper(name) AS name FROM crm.stock_people",
    )
    BashOperator(
        task_id="declared",
        bash_command="true",
        inlets=[Asset("s3://customer-lake/stock.csv")],
        outlets=[Asset("postgres://db.example.com:5432/crm/crm/people")],
    )
