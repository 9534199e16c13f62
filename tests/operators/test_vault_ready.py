"""``min_ttl`` and the operators that look before the job starts."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from airflow_secure_provider import leases
from airflow_secure_provider.errors import ConfigurationError, StoreUnavailable
from airflow_secure_provider.operators import VaultReadyOperator, VaultReadySensor
from airflow_secure_provider.operators._runtime import past_runs, runtime_of
from airflow_secure_provider.operators.vault_up import VaultUpTrigger
from airflow_secure_provider.vault.durations import as_vault_writes, in_words, parse_duration
from sandbox.environment import free_port
from sandbox.postgres import Postgres
from sandbox.vault import VaultStandIn
from tests.fixtures_vault import create_role, vault
from tests.vault.backends import Backends, stand_in_backends

__all__ = ["vault"]


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("45m", 2700),
        ("1h30m", 5400),
        ("90", 90),
        ("2d", 172800),
        (90, 90),
        (0.5, 0.5),
        (timedelta(minutes=1), 60),
    ],
)
def test_lengths_of_time(given: Any, seconds: float) -> None:
    assert parse_duration(given) == seconds


@pytest.mark.parametrize(
    "given", ["", "soon", "-5m", 0, -1, math.inf, math.nan, True, None, timedelta(0), "5 m"]
)
def test_what_is_none(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="min_ttl="):
        parse_duration(given, "min_ttl")


@pytest.mark.parametrize(
    ("seconds", "words", "vault_words"),
    [(0, "0s", "0s"), (59, "59s", "59s"), (61, "1m 1s", "2m"), (3600, "1h", "1h"), (90061, "1d 1h", "1502m")],
)
def test_lengths_in_words(seconds: float, words: str, vault_words: str) -> None:
    assert in_words(seconds) == words
    assert as_vault_writes(seconds) == vault_words


class Instance:
    """A task instance whose API server knows these runs."""

    map_index = -1

    def __init__(self, seconds: list[float | None]) -> None:
        start = datetime(2026, 1, 1, tzinfo=UTC)
        self.runs = [
            SimpleNamespace(
                logical_date=start + timedelta(days=day),
                start_date=start,
                end_date=start + timedelta(seconds=length) if length is not None else None,
            )
            for day, length in enumerate(seconds)
        ]

    def get_previous_ti(self, state: Any, logical_date: datetime | None, map_index: int) -> Any:
        assert (state, map_index) == ("success", -1)
        before = [run for run in self.runs if logical_date is None or run.logical_date < logical_date]
        return before[-1] if before else None


def test_the_runtime_of_past_runs() -> None:
    assert past_runs(Instance([])) == []
    assert past_runs(Instance([5, None, 3])) == [3, 5]
    assert len(past_runs(Instance([1.0] * 50))) == 20
    task: Any = SimpleNamespace(min_ttl="auto")
    lengths: list[float | None] = [float(n) for n in range(1, 21)]
    assert runtime_of(task, {"ti": Instance(lengths)}) == 19  # type: ignore[typeddict-item]
    assert runtime_of(task, {"ti": Instance([1, 2])}) is None  # type: ignore[typeddict-item]


@pytest.fixture
def ready(vault: VaultStandIn, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backends]:
    """A task process whose secrets backend is one of these."""
    with stand_in_backends(vault, postgres, ttl="10m", max_ttl="1h") as made:
        backend = made()
        monkeypatch.setattr(
            "airflow.sdk.execution_time.supervisor.ensure_secrets_backend_loaded", lambda: [backend]
        )
        leases.enter_task_process()
        yield made


def context() -> Any:
    return {"ti": Instance([])}


def test_ready(ready: Backends) -> None:
    (told,) = VaultReadyOperator(task_id="t", conn_ids=["crm"], min_ttl="45m").execute(context())
    assert told == {"connection": "crm", "engine": "database", "role": "loader", "ttl_seconds": 600}
    (held,) = leases.BOOK.living()
    assert 2690 < held.seconds_left() <= 2700  # Vault was asked for it, and gave it


def test_the_lease_falls_short(ready: Backends) -> None:
    with pytest.raises(AirflowFailException) as caught:
        VaultReadyOperator(task_id="t", conn_ids=["crm"], min_ttl="90m").execute(context())
    said = str(caught.value)
    assert "expected to take 1h 30m" in said
    assert "connection 'crm' can live 59m" in said or "connection 'crm' can live 1h" in said
    assert "30m" in said
    assert f"vault write {ready.engine.mount}/roles/loader …`) to 90m or more" in said


def test_the_login_falls_short(ready: Backends) -> None:
    create_role(ready.root, ready.engine.mount, "loader", ttl="10m", max_ttl="10h")
    with pytest.raises(
        AirflowFailException, match=r"login to Vault \(approle\).*raise token_max_ttl of its role to 3h"
    ):
        VaultReadyOperator(task_id="t", conn_ids=["crm"], min_ttl="3h").execute(context())


@pytest.mark.parametrize(
    ("conn_ids", "says"),
    [("crm", "is a list"), ([], "is a list"), (["nowhere"], "neither in Vault nor dynamic")],
)
def test_what_can_not_be_ready(ready: Backends, conn_ids: Any, says: str) -> None:
    with pytest.raises(AirflowFailException, match=says):
        VaultReadyOperator(task_id="t", conn_ids=conn_ids).execute(context())


def test_without_our_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow.sdk.execution_time.supervisor.ensure_secrets_backend_loaded", list)
    with pytest.raises(AirflowFailException, match="no VaultSecretsBackend"):
        VaultReadyOperator(task_id="t", conn_ids=["crm"]).execute(context())


def test_a_sealed_vault_is_waited_for(ready: Backends, vault: VaultStandIn) -> None:
    sensor = VaultReadySensor(task_id="t", conn_ids=["crm"], poke_interval=0.1, timeout=5)
    ready.root.sys.seal()
    try:
        assert not sensor.poke(context())
        with pytest.raises(StoreUnavailable, match="sealed"):
            VaultReadyOperator(task_id="t", conn_ids=["crm"]).execute(context())
        with pytest.raises(TaskDeferred) as deferred:
            VaultReadySensor(task_id="t", conn_ids=["crm"], deferrable=True).execute(context())
    finally:
        ready.root.sys.submit_unseal_key(vault.unseal_key)
    assert sensor.poke(context()).xcom_value[0]["role"] == "loader"
    path, arguments = deferred.value.trigger.serialize()
    assert path.endswith("VaultUpTrigger")
    assert arguments == {
        "url": vault.url,
        "verify": str(vault.ca_pem),
        "namespace": "",
        "interval": 60.0,
        "cert": None,
    }


def test_what_waiting_can_not_help_fails_at_once(ready: Backends) -> None:
    ready.allow('path "sys/leases/revoke" { capabilities = ["update"] }')
    with pytest.raises(AirflowFailException, match="status 403"):
        VaultReadySensor(task_id="t", conn_ids=["crm"]).poke(context())


def test_the_trigger(vault: VaultStandIn) -> None:
    async def first(trigger: VaultUpTrigger) -> Any:
        return await asyncio.wait_for(anext(aiter(trigger.run())), 3)

    event = asyncio.run(first(VaultUpTrigger(vault.url, str(vault.ca_pem), "", 0.1)))
    assert event.payload == {"status": 200}
    nowhere = f"https://127.0.0.1:{free_port()}"
    with pytest.raises(TimeoutError):
        asyncio.run(first(VaultUpTrigger(nowhere, str(vault.ca_pem), "", 0.1)))
