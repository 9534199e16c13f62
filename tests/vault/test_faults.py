"""What goes wrong with Vault in the middle of a task, and what the task then sees."""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path
from typing import Any

import hvac
import psycopg
import pytest

from airflow_secure_provider import leases
from airflow_secure_provider.connections import connect_postgres
from airflow_secure_provider.secrets.vault import VaultSecretsBackend
from sandbox.ca import Authority
from sandbox.postgres import Postgres
from sandbox.vault import VaultStandIn
from tests.fixtures_vault import DatabaseEngine, VaultServer, create_role, enable_database
from tests.real_vault import RealVault, binary
from tests.vault.backends import POLICY, Backends, denied, make_backends
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("task")


def usable(engine: DatabaseEngine, connection: Any) -> bool:
    try:
        engine.postgres.connect(connection.login, connection.password).close()
    except psycopg.OperationalError:
        return False
    return True


def test_the_token_is_revoked(
    root: hvac.Client, backends: Backends, engine: DatabaseEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With it go its leases; the next connection logs in anew and gets another user."""
    made = backends()
    monkeypatch.setattr("airflow.sdk.bases.hook.BaseHook.get_connection", staticmethod(made.get_connection))
    first = made.get_connection("crm")
    root.auth.token.revoke(made.vault_client.client.token)
    assert eventually(lambda: not engine.role_exists(first.login))
    with connect_postgres("crm") as live:
        user = live.execute("SELECT current_user").fetchone()[0]
    assert user != first.login
    leases.revoke_task_leases()
    assert not engine.role_exists(user)


def test_the_lease_is_revoked_by_somebody(
    root: hvac.Client, backends: Backends, engine: DatabaseEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = backends()
    monkeypatch.setattr("airflow.sdk.bases.hook.BaseHook.get_connection", staticmethod(made.get_connection))
    first = made.get_connection("crm")
    root.adapter.put(f"/v1/sys/leases/revoke-prefix/{engine.mount}/creds", json={"sync": True})
    assert eventually(lambda: not engine.role_exists(first.login))
    with connect_postgres("crm") as live:
        assert live.execute("SELECT current_user").fetchone()[0] != first.login


def test_a_renewal_that_is_refused_is_told_once(
    root: hvac.Client, backends: Backends, engine: DatabaseEngine, caplog: pytest.LogCaptureFixture
) -> None:
    create_role(root, engine.mount, "loader", ttl="4s", max_ttl="1m")
    made = backends()
    first = made.get_connection("crm")
    root.adapter.put(f"/v1/sys/leases/revoke-prefix/{engine.mount}/creds", json={"sync": True})
    assert eventually(lambda: "can't be renewed" in caplog.text, 6)
    time.sleep(1)
    assert caplog.text.count("can't be renewed") == caplog.text.count("WARNING")
    for secret in (first.login, first.password):
        assert secret not in caplog.text


def test_renewal_goes_on_after_a_passing_failure(
    vault: VaultStandIn, stand_in: Backends, caplog: pytest.LogCaptureFixture
) -> None:
    engine = stand_in.engine
    create_role(stand_in.root, engine.mount, "loader", ttl="4s", max_ttl="1m")
    made = stand_in()
    first = made.get_connection("crm")
    vault.inject({"prefix": "sys/leases/renew", "status": 503, "times": 1})
    time.sleep(6)
    assert made.get_connection("crm").login == first.login
    assert usable(engine, first)
    assert "can't be renewed" not in caplog.text


def test_the_permission_is_removed(backends: Backends, engine: DatabaseEngine) -> None:
    made = backends()
    first = made.get_connection("crm")
    backends.allow('path "sys/leases/revoke" { capabilities = ["update"] }')
    assert made.get_connection("crm").login == first.login  # what is lent stays lent
    assert "status 403" in denied(lambda: made.get_conn_value("other"))
    leases.BOOK.retire("crm")
    message = denied(lambda: made.get_conn_value("crm"))
    assert f'path "{engine.mount}/creds/loader"' in message
    backends.allow(POLICY.format(mount=engine.mount))
    assert made.get_connection("crm").login != first.login


def test_the_clock_jumps(backends: Backends, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases are timed by a clock that nobody sets."""
    made = backends()
    first = made.get_connection("crm")
    now = time.time()
    for hours in (-48, 48):
        monkeypatch.setattr(time, "time", lambda hours=hours: now + hours * 3600)
        assert made.get_connection("crm").login == first.login


def test_a_slow_vault_makes_no_second_user(vault: VaultStandIn, stand_in: Backends) -> None:
    """The answer that was not waited for may have been a credential: it ends with the task's login."""
    engine = stand_in.engine
    made = stand_in(timeout=(1, 1))
    vault.inject({"prefix": f"{engine.mount}/creds", "delay_seconds": 3, "times": 1})
    started = time.monotonic()
    assert "no answer in time" in denied(lambda: made.get_conn_value("crm"))
    assert time.monotonic() - started < 3
    assert eventually(lambda: len(vault.leases(engine.mount)) == 1, 5)
    leases.revoke_task_leases()
    assert eventually(lambda: not vault.leases(engine.mount, "active"), 5)


def test_ten_seconds_for_an_answer(vault: VaultStandIn, stand_in: Backends) -> None:
    """With the usual time limits: bounded, and clear."""
    vault.inject({"prefix": "secret/", "delay_seconds": 10, "times": 9})
    started = time.monotonic()
    message = denied(lambda: stand_in().get_variable("x"))
    assert "no answer in time" in message
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_vault_that_can_not_make_the_user(vault: VaultStandIn, stand_in: Backends, status: int) -> None:
    vault.inject({"prefix": stand_in.engine.mount, "status": status, "times": 1})
    made = stand_in()
    assert f"status {status}" in denied(lambda: made.get_conn_value("crm"))
    assert made.get_connection("crm").login  # the next look-up may


def test_the_database_is_gone(stand_in: Backends) -> None:
    """Vault's own connection to it fails."""
    stand_in.root.secrets.database.configure(
        mount_point=stand_in.engine.mount,
        **{
            **stand_in.engine.config(),
            "connection_url": "postgresql://{{username}}:{{password}}@127.0.0.1:1/x",
            "verify_connection": False,
        },
    )
    message = denied(lambda: stand_in().get_conn_value("crm"))
    assert "status 500" in message
    assert "creds/loader" in message


def test_the_ca_changes(tmp_path: Path) -> None:
    """Vault has a certificate of a new CA: refused, until the file has it; no restart is needed."""
    ca_file = tmp_path / "ca.pem"
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    with VaultStandIn(tmp_path / "one", old) as one:
        shutil.copy(old.ca_pem, ca_file)
        made = VaultSecretsBackend(
            url=one.url, token=one.root_token, ca_cert=str(ca_file), allow_tokens=["root"]
        )
        assert made.get_variable("x") is None
        port = one.port
    other = VaultStandIn(tmp_path / "two", new)
    other.port = port
    with other:
        assert "certificate" in denied(lambda: made.get_variable("x"))
        shutil.copy(new.ca_pem, ca_file)
        assert "status 403" in denied(
            lambda: made.get_variable("x")
        )  # trusted; another server, another token
    made.vault_client.close()


def test_a_connection_that_breaks(stand_in: Backends, vault: VaultStandIn) -> None:
    """As when Vault, or what stands before it, restarts."""
    made = stand_in()
    stand_in.put("variables/restart", value="hello")
    assert made.get_variable("restart") == "hello"
    vault.break_connections()
    leases.KV.clear()
    assert made.get_variable("restart") == "hello"


if binary() is not None:  # a restart that keeps what it held takes a real server

    def test_a_real_server_restarts(real_vault: RealVault, postgres: Postgres) -> None:
        """In the middle of a task: while it is away a look-up says so; then token and lease are good as before."""
        root = real_vault.client()
        server = VaultServer("a real server", real_vault.url, real_vault.root_token, str(real_vault.ca_pem))
        backends = make_backends(server, root, enable_database(root, postgres))
        backends.put("variables/restart", value="hello")
        made = backends()
        first = made.get_connection("crm")
        real_vault.stop()
        assert "could not reach" in denied(lambda: made.get_variable("restart"))
        assert made.get_connection("crm").login == first.login
        real_vault.start()
        assert made.get_variable("restart") == "hello"
        assert made.get_connection("crm").login == first.login
        leases.revoke_task_leases()
        assert not backends.engine.role_exists(first.login)
        backends.close()
        root.adapter.close()


def test_nobody_listens(backends: Backends, task: None) -> None:
    made = backends()
    first = made.get_connection("crm")
    made.vault_client.url = f"https://127.0.0.1:{closed_port()}"
    leases.KV.clear()
    assert "connection refused" in denied(lambda: backends(url=made.vault_client.url).get_variable("x"))
    assert first.login


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
