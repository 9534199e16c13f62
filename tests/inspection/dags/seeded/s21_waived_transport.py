"""A check of ours is waived."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_secure_provider.operators import EncryptedS3ToPostgresOperator

with DAG("s21", schedule=None):
    EncryptedS3ToPostgresOperator(
        task_id="load",
        source="s3://customer-lake/people/{{ ds }}.csv",
        table="crm.people",
        contract="contracts/known.odcs.yaml",
        allow_insecure_transport=True,  # <- SP111
    )
    EncryptedS3ToPostgresOperator(
        task_id="load_well",
        source="s3://customer-lake/people/{{ ds }}.csv",
        table="crm.people",
        contract="contracts/known.odcs.yaml",
        allow_insecure_transport=False,
    )
