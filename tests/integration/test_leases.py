"""Leases on a real Airflow: however a task ends, its credential does too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import eventually

from .conftest import Stage

pytestmark = pytest.mark.airflow
ROLE = "database/creds/crm-loader"


def issued(stage: Stage) -> int:
    return len(stage.world.vault.leases(ROLE))


def active(stage: Stage) -> int:
    return len(stage.world.vault.leases(ROLE, "active"))


def users(stage: Stage) -> list[str]:
    return [row[0] for row in stage.query("SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-%'")]


def journal(stage: Stage) -> Path:
    return stage.airflow.home / "secure_provider_leases"


def holders(stage: Stage) -> list[int]:
    """Processes that hold a lease."""
    return [int(file.name.split(",")[1]) for file in journal(stage).glob("*.json")]


def credentials(stage: Stage, dag_id: str) -> list[dict[str, Any]]:
    """Of the last event that tells them."""
    found = [each["run"]["facets"].get("secureProvider_credentials") for each in stage.events(dag_id)]
    told: list[dict[str, Any]] = [each for each in found if each][-1]["credentials"]
    return told


def command(
    stage: Stage, *arguments: str, module: str = "airflow_secure_provider"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=stage.airflow.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_one_credential_for_a_stock_operator_with_lineage(stage: Stage) -> None:
    before = issued(stage)
    logins = stage.world.vault.requests("auth/approle/login")
    run_id = stage.run("lease_stock")
    assert stage.airflow.task_states("lease_stock", run_id) == {"query": "success"}
    assert issued(stage) == before + 1
    assert stage.world.vault.requests("auth/approle/login") - logins <= 1
    assert (active(stage), users(stage)) == (0, [])
    events = [each for each in stage.events("lease_stock") if each["job"]["name"] == "lease_stock.query"]
    assert [each["eventType"] for each in events] == ["START", "COMPLETE", "OTHER"]
    # The fork that sent START had inherited the lease: it knows the database.
    assert "inherited no living lease" not in stage.airflow.task_log("lease_stock", run_id, "query")
    (credential,) = credentials(stage, "lease_stock")
    assert credential["revokedAt"] > credential["issuedAt"]
    assert (credential["engine"], credential["renewals"]) == ("database", 0)
    assert holders(stage) == []


@pytest.mark.parametrize(("name", "tries"), [("failed", 1), ("retried", 2), ("timed_out", 1)])
def test_a_task_that_fails(stage: Stage, name: str, tries: int) -> None:
    before = issued(stage)
    run_id = stage.run(f"lease_{name}")
    assert stage.airflow.task_states(f"lease_{name}", run_id) == {"query": "failed"}
    assert issued(stage) == before + tries  # a retry begins anew
    assert (active(stage), users(stage)) == (0, [])


def test_a_deferred_task_holds_nothing_meanwhile(stage: Stage) -> None:
    before = issued(stage)
    run_id = stage.run("lease_deferred")
    assert stage.airflow.task_states("lease_deferred", run_id) == {"query": "success"}
    assert issued(stage) == before + 2
    assert (active(stage), users(stage)) == (0, [])


def test_a_trigger_has_a_credential_of_its_own(stage: Stage) -> None:
    """Where triggerer_leases allows it; it ends with the trigger, in a process that goes on."""
    before = issued(stage)
    run_id = stage.run("lease_trigger")
    states = stage.airflow.task_states("lease_trigger", run_id)
    assert states == {"query": "success"}, stage.airflow.task_log("lease_trigger", run_id, "query")[-6000:]
    assert stage.airflow.xcoms("lease_trigger", run_id, "query")["return_value"] is True
    assert issued(stage) == before + 1
    assert eventually(lambda: active(stage) == 0, 5)
    assert users(stage) == []


def _running(stage: Stage) -> tuple[str, int]:
    """A task whose query runs, and its process. (PostgreSQL goes on with the queries of those that were killed before.)"""

    def queries() -> int:
        found = stage.query(
            "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(59)' AND state = 'active'"
        )
        return int(found[0][0])

    before = queries()
    run_id = stage.airflow.trigger("lease_long", logical_date=stage.next_day())
    assert eventually(lambda: queries() > before and len(holders(stage)) == 1, 60)
    return run_id, holders(stage)[0]


def test_a_stock_task_that_is_terminated(stage: Stage) -> None:
    run_id, pid = _running(stage)
    started = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    assert eventually(lambda: not users(stage), 3.0), "not revoked within 3 s"
    assert time.monotonic() - started < 3
    os.kill(pid, signal.SIGKILL)  # as the supervisor does two seconds later
    assert stage.airflow.wait("lease_long", run_id, 60) == "failed"
    assert active(stage) == 0


def test_a_task_that_is_marked_failed(stage: Stage) -> None:
    """Airflow's own way: its supervisor learns of it, and terminates the process."""
    run_id, _ = _running(stage)
    path = f"/dags/lease_long/dagRuns/{run_id}/taskInstances/query"
    stage.airflow.request("PATCH", path, {"new_state": "failed"})
    assert eventually(lambda: not users(stage), 20)
    assert active(stage) == 0
    stage.airflow.wait("lease_long", run_id, 60)


def test_after_sigkill_the_sweep_revokes(stage: Stage) -> None:
    run_id, pid = _running(stage)
    os.kill(pid, signal.SIGKILL)
    assert stage.airflow.wait("lease_long", run_id, 60) == "failed"
    assert len(users(stage)) == 1
    dry = command(stage, "leases", "sweep", "--dry-run", "--json")
    assert json.loads(dry.stdout)["counts"] == {"left": 1}, dry.stderr
    swept = command(stage, "leases", "sweep")
    assert swept.stdout == "leases of tasks that no longer run: 1 revoked\n", swept.stderr
    assert (active(stage), users(stage), holders(stage)) == (0, [], [])


@pytest.mark.slow
def test_twenty_tasks_at_a_time_a_fifth_of_them_killed(stage: Stage) -> None:
    before = issued(stage)
    run_id = stage.airflow.trigger("lease_many", logical_date=stage.next_day())
    killed: set[int] = set()
    until = time.monotonic() + 150
    while time.monotonic() < until:
        states = stage.airflow.task_states("lease_many", run_id)
        done = [state for state in states.values() if state in ("success", "failed")]
        if len(done) == 20:
            break
        if sum(state == "success" for state in states.values()) == 16:
            time.sleep(2)  # what succeeded gives its lease back now; what is left sleeps
            for pid in set(holders(stage)) - killed:
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.3)
    stage.airflow.wait("lease_many", run_id, 60)
    states = stage.airflow.task_states("lease_many", run_id)
    assert sorted(states.values()) == ["failed"] * 4 + ["success"] * 16
    assert len(killed) == 4
    assert issued(stage) == before + 20
    assert active(stage) == 4
    swept = command(stage, "leases", "sweep")
    assert "4 revoked" in swept.stdout, swept.stderr
    assert (active(stage), users(stage)) == (0, [])
    assert_nothing_is_written(stage, least=20)


# before the job starts


def test_a_job_that_would_outlive_its_credential_does_not_begin(stage: Stage) -> None:
    run_id = stage.run("lease_short")
    assert stage.airflow.task_states("lease_short", run_id) == {"load": "failed"}
    log = stage.airflow.task_log("lease_short", run_id, "load")
    assert "is expected to take 1d 6h (min_ttl), and" in log
    assert "the credential of connection 'crm' can live" in log
    assert "raise max_ttl of the role" in log
    assert "missing.csv" not in log  # nothing was begun
    assert active(stage) == 0


def test_vault_is_ready(stage: Stage) -> None:
    run_id = stage.run("lease_ready")
    (told,) = stage.airflow.xcoms("lease_ready", run_id, "ready")["return_value"]
    assert (told["connection"], told["engine"], told["role"]) == ("crm", "database", "crm-loader")
    assert active(stage) == 0


def test_waiting_in_the_triggerer_for_a_sealed_vault(stage: Stage) -> None:
    vault = stage.world.vault
    client = vault.client()
    client.sys.seal()
    try:
        run_id = stage.airflow.trigger("lease_wait", logical_date=stage.next_day())
        assert eventually(
            lambda: stage.airflow.task_states("lease_wait", run_id).get("ready") == "deferred", 90
        )
    finally:
        client.sys.submit_unseal_key(vault.unseal_key)
        client.adapter.close()
    assert stage.airflow.wait("lease_wait", run_id, 90) == "success"
    assert active(stage) == 0


def test_the_check_of_the_configuration(stage: Stage) -> None:
    keyset = "s3://keys-vault/customers.keyset.json"
    run = command(
        stage,
        "check",
        "--json",
        "--issue",
        "--keyset",
        keyset,
        "--bucket",
        "customer-lake",
        "--aws-conn-id",
        "aws_default",
    )
    told = json.loads(run.stdout)
    by_subject = {each["subject"]: each for each in told["findings"]}
    assert [each for each in told["findings"] if each["verdict"] == "failed"] == [
        by_subject["credential of 'denied'"]
    ] or [each["subject"] for each in told["findings"] if each["verdict"] == "failed"] == [
        "policy for database/creds/forbidden",
        "credential of 'denied'",
    ], run.stdout
    assert run.returncode == 1
    for subject in ("plugin", "health", "clock", "connection 'crm'", "bucket 'customer-lake'", keyset):
        assert by_subject[subject]["verdict"] in ("ok", "warning"), by_subject[subject]
    assert by_subject["credential of 'crm'"]["detail"] == "issued for 15m, given back"
    for name, secret in stage.world.secrets.items():
        assert secret not in run.stdout + run.stderr, name
    text = command(stage, "check")
    assert "failed" in text.stdout
    assert text.returncode == 1
    assert active(stage) == 0


@pytest.mark.slow
def test_dags_test_gives_each_task_its_own(stage: Stage) -> None:
    before = issued(stage)
    run = command(stage, "dags", "test", "lease_two", "2025-01-01", module="airflow")
    assert run.returncode == 0, run.stderr[-2000:]
    assert issued(stage) == before + 2
    assert (active(stage), users(stage)) == (0, [])


def test_what_a_template_renders_is_masked(stage: Stage) -> None:
    """An author may do it; what Airflow shows of it is stars."""
    before = issued(stage)
    run_id = stage.run("lease_rendered")
    assert stage.airflow.task_states("lease_rendered", run_id) == {"query": "success"}
    assert issued(stage) == before + 1
    path = f"/dags/lease_rendered/dagRuns/{run_id}/taskInstances/query"
    rendered = stage.airflow.request("GET", path)["rendered_fields"]["sql"]
    assert rendered == "SELECT '***', '***'"
    assert active(stage) == 0


def test_nothing_of_a_credential_is_written(stage: Stage) -> None:
    """After all of the above."""
    assert_nothing_is_written(stage, least=12)


def assert_nothing_is_written(stage: Stage, least: int) -> None:
    """No user name, lease id or secret in a log, an event or Airflow's database.

    :param least: so many leases at least there must have been.
    """
    leases = stage.world.vault.leases(ROLE)
    assert len(leases) >= least
    needles = [each["lease_id"].rpartition("/")[2].encode() for each in leases]
    for name, content in stage.everything_written():
        for needle in [*needles, *(secret.encode() for secret in stage.world.secrets.values())]:
            assert needle not in content, name
        told = [line[:300] for line in content.splitlines() if b"v-approle-crm-load" in line]
        assert told == [], name
