"""What leased credentials cost a task, and what is left of them: real tasks of a real Airflow against the Vault stand-in.

The tasks are Airflow's own SQLExecuteQueryOperator, with OpenLineage on, which looks the connection up in its forks too.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from benchmarks._connections import connection_of_the_environment
from benchmarks._vault_dags import KILLED_EACH, PAIRS, TASKS
from sandbox.airflow import Airflow
from sandbox.environment import short_directory
from sandbox.making import DATABASE
from sandbox.world import World, running_world

_ROLE = "database/creds/crm-loader"
_SHORT_SECONDS = 15
_LONGEST_SECONDS = 1_200.0


def figures() -> Iterator[tuple[str, float]]:
    with (
        short_directory() as directory,
        running_world(directory) as world,
        tempfile.TemporaryDirectory() as times,
    ):
        dags = directory / "bench-dags"
        dags.mkdir()
        shutil.copy(Path(__file__).with_name("_vault_dags.py"), dags / "vault_dags.py")
        environment = {
            **world.airflow_environment,
            "AIRFLOW_CONN_CRM_ENV": connection_of_the_environment(world),
            "AIRFLOW__CORE__PARALLELISM": "10",
            "BENCH_TIMES": times,
        }
        with Airflow(directory, dags, environment) as airflow:
            yield from _cost(world, airflow, Path(times))
            yield from _left(world, airflow)


def _cost(world: World, airflow: Airflow, times: Path) -> Iterator[tuple[str, float]]:
    """Tasks in turn, one with a connection from the environment, one with a leased one."""
    vault = world.vault
    run_id = airflow.trigger("bench_pairs", logical_date=datetime(2026, 1, 1, tzinfo=UTC))
    before = {part: vault.requests(part) for part in ("", "/login", "creds/")}
    leases = len(vault.leases(_ROLE))
    if airflow.wait("bench_pairs", run_id, _LONGEST_SECONDS) != "success":
        raise AssertionError("a task of the benchmark failed")
    seconds = {file.stem: json.loads(file.read_text())["seconds"] for file in times.glob("*.json")}
    added = [seconds[f"vault_{n}"] - seconds[f"environment_{n}"] for n in range(PAIRS)]
    # Airflow's own look-ups (of a connection that Vault does not have) are the tasks' too: the backend is asked first.
    yield "logins_per_task", (vault.requests("/login") - before["/login"]) / (2 * PAIRS)
    yield "credentials_per_task", (len(vault.leases(_ROLE)) - leases) / PAIRS
    yield "requests_per_task", (vault.requests("") - before[""]) / (2 * PAIRS)
    yield "added_ms_per_task", 1000 * statistics.median(added)
    yield (
        "ms_per_task_from_environment",
        1000 * statistics.median(seconds[f"environment_{n}"] for n in range(PAIRS)),
    )


def _left(world: World, airflow: Airflow) -> Iterator[tuple[str, float]]:
    """A hundred tasks, a fifth of them killed; nobody sweeps: the TTL alone must do it."""
    client = world.vault.client()
    role = client.secrets.database.read_role("crm-loader")["data"]
    client.secrets.database.create_role(
        name="crm-loader",
        db_name=role["db_name"],
        creation_statements=role["creation_statements"],
        revocation_statements=role["revocation_statements"],
        default_ttl=f"{_SHORT_SECONDS}s",
        max_ttl="10m",
    )
    client.adapter.close()
    before = len(world.vault.leases(_ROLE))
    run_id = airflow.trigger("bench_many", logical_date=datetime(2026, 1, 2, tzinfo=UTC))
    killed = _kill_the_sleeping(airflow, run_id)
    airflow.wait("bench_many", run_id, _LONGEST_SECONDS)
    states = list(airflow.task_states("bench_many", run_id).values())
    if (states.count("success"), killed) != (TASKS - TASKS // KILLED_EACH, TASKS // KILLED_EACH):
        raise AssertionError(f"{killed} killed, {states.count('success')} succeeded")
    yield "credentials_of_100_tasks", float(len(world.vault.leases(_ROLE)) - before)
    yield "users_left_at_once", float(_users(world))
    time.sleep(_SHORT_SECONDS + 2)
    yield "users_left_after_ttl", float(_users(world))


def _kill_the_sleeping(airflow: Airflow, run_id: str) -> int:
    """:return: how many."""
    journal, seen, killed = airflow.home / "secure_provider_leases", dict[int, float](), set[int]()
    until = time.monotonic() + _LONGEST_SECONDS
    while time.monotonic() < until:
        for file in journal.glob("*.json"):
            pid = int(file.name.split(",")[1])
            since = seen.setdefault(pid, time.monotonic())
            if pid not in killed and time.monotonic() - since > 8:  # the others have long given theirs back
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
        states = airflow.task_states("bench_many", run_id).values()
        if sum(state in ("success", "failed") for state in states) == TASKS:
            break
        time.sleep(0.2)
    return len(killed)


def _users(world: World) -> int:
    with world.postgres.connect(dbname=DATABASE) as connection:
        row = connection.execute("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'v-%'").fetchone()
    return int(row[0]) if row else 0
