"""A contract that is not where the DAG says."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_secure_provider.operators import MaskColumnsOperator

with DAG("s23", schedule=None):
    MaskColumnsOperator(
        task_id="mask",
        source="crm.people",
        target="crm.invoices",
        contract="contracts/unknown.odcs.yaml",  # <- SP113
    )
    MaskColumnsOperator(
        task_id="mask_well", source="crm.people", target="crm.invoices", contract="contracts/known.odcs.yaml"
    )
