"""Our operator, with nothing that says what its columns are; the other's contract comes by **."""

from __future__ import annotations

import os

from airflow.sdk import DAG

from airflow_secure_provider.operators import EncryptedS3ToPostgresOperator, MaskColumnsOperator

COMMON = {"postgres_conn_id": "crm", "keyset": "s3://keys-vault/customers.keyset.json?id=customers"}
GIVEN = {"columns": {"id": "none"}} if os.environ.get("QUICK") else {"contract": "contracts/known.odcs.yaml"}

with DAG("s20", schedule=None):
    EncryptedS3ToPostgresOperator(  # <- SP110
        task_id="load",
        source="s3://customer-lake/people/{{ ds }}.csv",
        table="crm.people",
        **COMMON,
    )
    MaskColumnsOperator(task_id="mask", source="crm.people", target="ref.countries", **COMMON, **GIVEN)
