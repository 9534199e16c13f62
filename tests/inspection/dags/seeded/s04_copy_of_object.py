"""A mapped copy of objects, one of which lies in the folder of people."""

from __future__ import annotations

from airflow.providers.amazon.aws.operators.s3 import S3CopyObjectOperator
from airflow.sdk import DAG

with DAG("s04", schedule=None):
    S3CopyObjectOperator.partial(  # <- SP101
        task_id="copy",
        source_bucket_name="customer-lake",
        dest_bucket_name="open-data",
        dest_bucket_key="copied.csv",
    ).expand(source_bucket_key=["people/2026.csv"])
    S3CopyObjectOperator(
        task_id="copy_codes",
        source_bucket_key="s3://open-data/codes.csv",
        dest_bucket_key="s3://open-data/codes-{{ ds }}.csv",
    )
