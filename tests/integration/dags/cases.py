"""DAGs for the integration tests, one for each case."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.sdk import DAG, Asset

from airflow_secure_provider.operators import (
    EncryptedS3ToPostgresOperator,
    EncryptToS3Operator,
    MaskColumnsOperator,
    ReprotectColumnsOperator,
    RevealColumnsOperator,
)

COLUMNS = {
    "id": {"method": "none", "type": "integer"},
    "email": {"method": "tokenize", "classification": "restricted", "domain": "person-email"},
    "notes": {"method": "encrypt", "classification": "confidential"},
}
LOAD = {
    "table": "crm.people",
    "columns": COLUMNS,
    "keyset": "s3://keys-vault/customers.keyset.json",
    "encryption_context": {"dataset": "crm.people"},
    "postgres_conn_id": "crm",
    "set_role": "crm_owner",
    # A retry of what can't succeed would show as a second try in the tests.
    "retries": 2,
    "retry_delay": timedelta(seconds=1),
}


def load_case(name: str, **changes: object) -> None:
    with DAG(f"case_{name}", schedule=None):
        EncryptedS3ToPostgresOperator(
            task_id="load", **{**LOAD, "source": f"s3://customer-lake/{name}.csv", **changes}
        )


load_case("good", outlets=[Asset("people")], mode="replace")
load_case("tampered")
load_case("missing")
load_case("slow")
load_case("plain", encryption_context=None)
load_case("bad_context", encryption_context={"dataset": "crm.others"})
load_case("unclassified", columns={"id": "none", "email": "tokenize"})
load_case("weak", columns={**COLUMNS, "email": {"method": "none", "classification": "restricted"}})
load_case("unknown_rest", postgres_conn_id="crm_by_name")
load_case("sealed", retries=0)
load_case("denied", postgres_conn_id="denied", retries=0)
load_case("unreachable", retries=0)

with DAG("case_mask", schedule=None):
    MaskColumnsOperator(
        task_id="mask",
        source="crm.people",
        target="crm.people_masked",
        columns={"id": "none", "email": COLUMNS["email"], "notes": "drop"},
        postgres_conn_id="crm",
        set_role="crm_owner",
    )

with DAG("case_reveal", schedule=None):
    RevealColumnsOperator(
        task_id="reveal",
        source="crm.people",
        table="crm.people_open",
        reveal=["email"],
        keep=["id"],
        where="id > 1",
        purpose="ticket 4711",
        reveal_with="s3://keys-vault/customers.keyset.json",
        reveal_aws_conn_id="aws_default",
        postgres_conn_id="crm",
        set_role="crm_owner",
    )

with DAG("case_reprotect", schedule=None):
    ReprotectColumnsOperator(
        task_id="reprotect",
        keyset="s3://keys-vault/rotated.keyset.json?id=customers&min_version=2",
        postgres_conn_id="crm",
        set_role="crm_owner",
    )

with DAG("case_publish", schedule=None):
    MaskColumnsOperator(
        task_id="publish",
        query="SELECT p.id, p.email, m.id AS other FROM crm.people p JOIN crm.people_masked m USING (email)",
        target="s3://customer-lake/published.parquet",
        target_kms_key="{{ var.value.publish_key }}",
        columns={
            "id": {"method": "none", "type": "integer"},
            "email": COLUMNS["email"],
            "other": {"method": "generalize", "bins": [2, 3], "type": "integer"},
        },
        postgres_conn_id="crm",
        set_role="crm_owner",
    )

with DAG("case_encrypt", schedule=None):
    EncryptToS3Operator(
        task_id="encrypt",
        query="SELECT id, email FROM crm.people",
        target="s3://customer-lake/people_copy.csv.gz",
        kms_keys="{{ var.value.publish_key }}",
        postgres_conn_id="crm",
        set_role="crm_owner",
    )

with DAG("case_stock", schedule=None):
    SQLExecuteQueryOperator(
        task_id="query", conn_id="crm", sql="SET ROLE crm_owner; SELECT count(*) FROM crm.people"
    )
