"""Many processes that emit runs through Airflow's own OpenLineage adapter and our transport: ``URL SPOOL PROCESSES RUNS``.

Prints a JSON line: the ids of the runs of which START and COMPLETE were emitted.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from datetime import UTC, datetime

from airflow_secure_provider.lineage.setup import TRANSPORT


def emit(runs: list[str]) -> None:
    """As the listener does, in a process of its own."""
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.providers.openlineage.plugins.adapter import OpenLineageAdapter
    from openlineage.client.event_v2 import InputDataset, OutputDataset

    adapter = OpenLineageAdapter()
    about = {
        "nominal_start_time": None,
        "nominal_end_time": None,
        "owners": None,
        "tags": None,
        "job_description": None,
    }
    task = OperatorLineage(
        inputs=[InputDataset("s3://lake", "people.csv")],
        outputs=[OutputDataset("postgres://db:5432", "crm.crm.people")],
    )
    for number, run in enumerate(runs):
        now = datetime.now(UTC).isoformat
        adapter.start_task(run_id=run, job_name=f"dag.task_{number}", event_time=now(), task=task, **about)
        adapter.complete_task(run_id=run, job_name=f"dag.task_{number}", end_time=now(), task=task, **about)


def main(url: str, spool: str, processes: int, runs_each: int) -> None:
    inner = {"type": "http", "url": url, "timeout": 1.0, "retry": {"total": 0}}
    transport = {"type": TRANSPORT, "spool": spool, "transport": inner}
    os.environ["AIRFLOW__OPENLINEAGE__TRANSPORT"] = json.dumps(transport)
    import airflow.providers.openlineage.plugins.adapter  # noqa: F401 (once, for all that are forked)

    import airflow_secure_provider.lineage.completion
    import airflow_secure_provider.lineage.transport  # noqa: F401

    runs = [[str(uuid.uuid4()) for _ in range(runs_each)] for _ in range(processes)]
    children = []
    for mine in runs:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                emit(mine)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    failed = sum(os.waitpid(child, 0)[1] != 0 for child in children)
    print(json.dumps({"runs": [run for mine in runs for run in mine], "failed": failed}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
