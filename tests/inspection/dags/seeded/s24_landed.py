"""An API's answers land encrypted, but of no known class: a note."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_secure_provider.operators import HttpToEncryptedS3Operator

with DAG("s24", schedule=None):
    HttpToEncryptedS3Operator(  # <- SP114
        task_id="fetch",
        endpoint="/v1/people",
        target="s3://customer-lake/people/{{ ds }}.json",
        kms_keys="{{ var.value.key }}",
    )
