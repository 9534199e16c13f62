"""Customers and orders, encrypted in S3, become protected tables; analysts get a share without persons in it.

``make demo`` runs this DAG on real servers. To run it on yours: three Airflow connections (``aws_default``; ``crm``, a
PostgreSQL connection with ``sslmode=verify-full``), a keyset, and the tables of the contracts.
"""

from __future__ import annotations

import os

from airflow.sdk import DAG, Asset

from airflow_secure_provider.operators import EncryptedS3ToPostgresOperator, MaskColumnsOperator

KEYSET = "s3://keys-vault/customers.keyset.json?id=customers"
# None: the objects' keys are in AWS KMS. Where there is none, a connection that holds a raw AES key (docker-compose.yaml).
LAKE_KEY = os.environ.get("LAKE_KEY_CONN_ID")
DATABASE = {"postgres_conn_id": "crm", "set_role": "crm_owner"}

with DAG("secure_customers", schedule=None, tags=["secure"], doc_md=__doc__):
    load_customers = EncryptedS3ToPostgresOperator(
        task_id="load_customers",
        source="s3://customer-lake/customers/{{ ds }}.csv",
        encryption_context={"dataset": "crm.customers"},
        raw_aes_key_conn_id=LAKE_KEY,
        table="crm.customers",
        contract="contracts/customers.odcs.yaml",
        keyset=KEYSET,
        mode="replace",
        outlets=[Asset("crm.customers")],
        **DATABASE,
    )
    load_orders = EncryptedS3ToPostgresOperator(
        task_id="load_orders",
        source="s3://customer-lake/orders/{{ ds }}.csv",
        encryption_context={"dataset": "crm.orders"},
        raw_aes_key_conn_id=LAKE_KEY,
        table="crm.orders",
        contract="contracts/orders.odcs.yaml",
        keyset=KEYSET,
        mode="replace",
        outlets=[Asset("crm.orders")],
        **DATABASE,
    )
    share = MaskColumnsOperator(
        task_id="share",
        source="crm.customers",
        target="analytics.customers",
        contract="contracts/analytics.odcs.yaml",
        reveal_with=KEYSET,
        # Of each year of birth and area at least five; made coarser, or up to one in a hundred left out, where there are fewer.
        require={
            "k": 5,
            "quasi_identifiers": {"birth_date": ["decade"], "postcode": [1, "any"]},
            "max_suppressed": 0.01,
        },
        outlets=[Asset("analytics.customers")],
        **DATABASE,
    )
    [load_customers, load_orders] >> share
