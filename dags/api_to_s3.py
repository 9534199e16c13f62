"""People of an HTTP API, encrypted on their way into S3, and from there into a protected table.

To run it on yours: the connections ``people_api`` (its host; in its extra ``{"auth": "oauth2", "token_url": "https://…"}``;
client id and secret as login and password), ``aws_default`` and ``crm``; the variable ``lake_key``, ARN of a KMS key; a
keyset; and the table.
"""

from __future__ import annotations

from airflow.sdk import DAG, Asset

from airflow_secure_provider.operators import EncryptedS3ToPostgresOperator, HttpToEncryptedS3Operator

OBJECT = "s3://customer-lake/people/{{ ds }}.jsonl.zst"
CONTEXT = {"dataset": "crm.people"}

with DAG("api_to_s3", schedule=None, tags=["secure"], doc_md=__doc__):
    fetch = HttpToEncryptedS3Operator(
        task_id="fetch",
        http_conn_id="people_api",
        endpoint="/v1/people",
        query_params={"since": "{{ ds }}"},
        records="data.items",
        pagination={"type": "url", "at": "paging.next"},
        target=OBJECT,
        kms_keys="{{ var.value.lake_key }}",
        encryption_context=CONTEXT,
    )
    load = EncryptedS3ToPostgresOperator(
        task_id="load",
        source=OBJECT,
        encryption_context=CONTEXT,
        table="crm.people",
        columns={
            "id": {"method": "none", "type": "integer"},
            "email": {"method": "tokenize", "domain": "person-email", "classification": "restricted"},
            "notes": {"method": "encrypt", "classification": "restricted"},
        },
        keyset="s3://keys-vault/customers.keyset.json?id=customers",
        postgres_conn_id="crm",
        set_role="crm_owner",
        mode="replace",
        outlets=[Asset("crm.people")],
    )
    fetch >> load
