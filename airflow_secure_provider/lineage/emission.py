"""One more event on a task's run, through the OpenLineage provider's own client."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from .credentials import credential_facets


def emit_credentials(task_instance: Any) -> None:
    """An OTHER event with the credential facet, after the run's last state; nothing if OpenLineage is off."""
    from airflow.providers.openlineage.api.core import emit, is_openlineage_active
    from airflow.providers.openlineage.plugins.macros import (
        lineage_job_name,
        lineage_job_namespace,
        lineage_run_id,
    )
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState

    if not is_openlineage_active():
        return
    emit(
        RunEvent(
            eventType=RunState.OTHER,
            eventTime=datetime.now(UTC).isoformat(),
            run=Run(runId=lineage_run_id(task_instance), facets=dict(credential_facets())),
            job=Job(namespace=lineage_job_namespace(), name=lineage_job_name(task_instance)),
        )
    )
