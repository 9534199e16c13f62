"""A lineage server that goes away while a thousand runs are told to it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_secure_provider.lineage.setup import TRANSPORT
from airflow_secure_provider.lineage.transport import transport_of
from sandbox.environment import REPOSITORY, clean_environment
from tests.lineage.server import LineageServer

PROCESSES = 50
RUNS_EACH = 20
_LONGEST_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    :ivar runs: ids of all runs that were emitted.
    :ivar states: of each run that the server knows, in the order of their arrival.
    :ivar before: events that arrived before the outage.
    :ivar failed: processes that ended with an error.
    """

    runs: Sequence[str]
    states: dict[str, list[str]]
    before: int
    failed: int

    @property
    def lost(self) -> int:
        """Events that the server never got."""
        return sum(2 - len(set(self.states.get(run, ()))) for run in self.runs)


def outage(directory: Path, processes: int = PROCESSES, runs_each: int = RUNS_EACH) -> Outcome:
    """Begin, stop the server when a tenth has arrived, start it again, and flush what waits in the end."""
    spool = directory / "spool"
    with LineageServer() as first:
        url, port = first.url, first.port
        emitting = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "benchmarks._lineage_many",
                url,
                str(spool),
                str(processes),
                str(runs_each),
            ],
            stdout=subprocess.PIPE,
            cwd=REPOSITORY,
            env=clean_environment(directory / "home") | {"AIRFLOW_HOME": str(directory / "airflow")},
        )
        until = time.monotonic() + _LONGEST_SECONDS
        while len(first.events) < processes * runs_each * 2 // 10 and time.monotonic() < until:
            time.sleep(0.01)
    time.sleep(1.0)
    with LineageServer(port) as second:
        told, _ = emitting.communicate(timeout=_LONGEST_SECONDS)
        told_of: dict[str, Any] = json.loads(told.splitlines()[-1])
        inner = {"type": "http", "url": url, "timeout": 5.0}
        transport_of({"type": TRANSPORT, "spool": str(spool), "transport": inner}).flush()
        taken = [*first.events, *second.events]
    states: dict[str, list[str]] = {}
    for event in taken:
        states.setdefault(event["run"]["runId"], []).append(event["eventType"])
    return Outcome(told_of["runs"], states, len(first.events), told_of["failed"])
