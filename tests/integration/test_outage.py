"""Thirty real tasks of a real Airflow, through its own listener, while the lineage server goes away and comes back."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from airflow_secure_provider.lineage.setup import TRANSPORT
from sandbox.airflow import Airflow
from sandbox.environment import short_directory
from tests.lineage.server import LineageServer

pytestmark = [pytest.mark.airflow, pytest.mark.long]


def test_no_event_is_lost() -> None:
    with short_directory() as directory:
        dags = directory / "test-dags"
        dags.mkdir()
        shutil.copy(Path(__file__).parent / "dags" / "outage.py", dags)
        with LineageServer() as first:
            inner = {"type": "http", "url": first.url, "timeout": 2.0, "retry": {"total": 0}}
            transport = {"type": TRANSPORT, "spool": str(directory / "spool"), "transport": inner}
            environment = {"AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport)}
            with Airflow(directory, dags, environment) as airflow:
                run_id = airflow.trigger("outage")
                until = time.monotonic() + 120
                while len(_of_tasks(first)) < 10 and time.monotonic() < until:
                    time.sleep(0.02)
                first.__exit__()
                time.sleep(5)
                with LineageServer(first.port) as second:
                    assert airflow.wait("outage", run_id, 240) == "success"
                    _flush(airflow)
                    taken = [*_of_tasks(first), *_of_tasks(second)]
    states: dict[str, list[str]] = {}
    for run, state in taken:
        states.setdefault(run, []).append(state)
    assert len(_of_tasks(first)) >= 10
    assert len(_of_tasks(second)) > 0
    assert len(states) == 30
    for seen in states.values():  # twice is allowed, another order is not
        assert list(dict.fromkeys(seen)) == ["START", "COMPLETE"]


def _of_tasks(server: LineageServer) -> list[tuple[str, str]]:
    """Run and state; the DAG's own run sends events too."""
    return [
        (event["run"]["runId"], event["eventType"])
        for event in list(server.events)
        if event["job"]["name"] == "outage.short"
    ]


def _flush(airflow: Airflow) -> None:
    subprocess.run(
        [sys.executable, "-m", "airflow_secure_provider", "lineage", "flush"],
        env=airflow.environment,
        check=True,
        timeout=60,
    )
