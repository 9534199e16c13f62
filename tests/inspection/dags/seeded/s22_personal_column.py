"""An e-mail address that is written as it is."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_secure_provider.operators import EncryptedS3ToPostgresOperator

with DAG("s22", schedule=None):
    EncryptedS3ToPostgresOperator(
        task_id="load",
        source="s3://customer-lake/people/{{ ds }}.csv",
        table="crm.people",
        columns={"id": "none", "email": "none", "postcode": "none"},  # <- SP112
    )
    EncryptedS3ToPostgresOperator(
        task_id="load_well",
        source="s3://customer-lake/people/{{ ds }}.csv",
        table="crm.people",
        columns={"id": "none", "email": "tokenize", "email_opt_in": "none"},
    )
