"""Nobody has written down what crm.leads holds."""

from __future__ import annotations

from airflow.providers.common.sql.operators.generic_transfer import GenericTransfer
from airflow.sdk import DAG

with DAG("s06", schedule=None):
    GenericTransfer(  # <- SP103
        task_id="leads",
        sql="SELECT code FROM ref.countries",
        destination_table="crm.leads",
        source_conn_id="crm",
        destination_conn_id="warehouse",
    )
    GenericTransfer(
        task_id="codes",
        sql="SELECT code FROM ref.countries",
        destination_table="ref.countries",
        source_conn_id="crm",
        destination_conn_id="warehouse",
    )
