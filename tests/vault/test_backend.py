"""The secrets backend in this process, against the stand-in and real PostgreSQL roles."""

from __future__ import annotations

import builtins
import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hvac
import psycopg
import pytest
from airflow.providers.postgres.hooks.postgres import PostgresHook

from airflow_secure_provider import leases
from airflow_secure_provider.errors import ConfigurationError
from airflow_secure_provider.secrets.vault import VaultSecretsBackend
from sandbox.ca import Authority
from sandbox.environment import free_port
from sandbox.vault import VaultStandIn
from tests.fixtures_vault import DatabaseEngine, VaultServer, unique
from tests.vault.backends import Backends, denied, in_child, make_backends

Backend = Backends


@pytest.fixture
def root(vault: VaultStandIn) -> Iterator[hvac.Client]:
    client = vault.client()
    yield client
    vault.inject()
    client.adapter.close()


@pytest.fixture
def backend(vault: VaultStandIn, root: hvac.Client, engine: DatabaseEngine) -> Iterator[Backends]:
    server = VaultServer("the stand-in", vault.url, vault.root_token, str(vault.ca_pem))
    made = make_backends(server, root, engine)
    yield made
    made.close()
    leases.LOGINS.clear()


@pytest.fixture
def login(backend: Backends) -> dict[str, str]:
    return {"auth_mount_point": backend.mount, **backend.login}


def put(root: hvac.Client, path: str, **data: Any) -> None:
    root.secrets.kv.v2.create_or_update_secret(path, data, mount_point="secret")


# KV, as the hashicorp provider has it


def test_a_connection_and_a_variable(root: hvac.Client, backend: Backend) -> None:
    put(root, "connections/fields", conn_type="postgres", host="db", port=5432, login="me", password="p")
    put(root, "connections/uri", conn_uri="postgres://me:p@db:5432/crm")
    put(root, "variables/greeting", value="hello")
    made = backend()
    connection = made.get_connection("fields")
    assert (connection.host, connection.port, connection.login, connection.password) == (
        "db",
        5432,
        "me",
        "p",
    )
    assert made.get_conn_value("uri") == "postgres://me:p@db:5432/crm"
    assert made.get_variable("greeting") == "hello"


def test_what_is_absent_is_none(backend: Backend) -> None:
    made = backend()
    assert made.get_conn_value("nowhere") is None
    assert made.get_variable("nowhere") is None
    assert made.get_config("nowhere") is None


def test_paths_that_are_off_ask_nothing(vault: VaultStandIn, backend: Backend) -> None:
    before = vault.requests("/login")
    made = backend(connections_path="", variables_path="", config_path="")
    made.connections_path = made.variables_path = made.config_path = None
    assert (made.get_conn_value("x"), made.get_variable("x"), made.get_config("x")) == (None, None, None)
    assert vault.requests("/login") == before


def test_secret_id_path_is_read_at_login(
    root: hvac.Client, backend: Backend, login: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "secret-id"
    made = backend(secret_id=None, secret_id_path=str(file))
    message = denied(lambda: made.get_variable("greeting"))
    assert str(file) in message
    assert "No such file" in message
    put(root, "variables/greeting", value="hello")
    file.write_text(login["secret_id"] + "\n")
    assert made.get_variable("greeting") == "hello"


def test_a_revoked_token_is_replaced(root: hvac.Client, backend: Backend) -> None:
    put(root, "variables/greeting", value="hello")
    made = backend()
    assert made.get_variable("greeting") == "hello"
    root.auth.token.revoke(made.vault_client.client.token)
    assert made.get_variable("greeting") == "hello"


def test_a_secret_that_is_no_connection(root: hvac.Client, backend: Backend) -> None:
    put(root, "connections/odd", adress="canary-value")
    message = denied(lambda: backend().get_connection("odd"))
    assert "not a connection" in message
    assert "canary" not in message


# dynamic connections


@pytest.mark.usefixtures("task")
def test_a_dynamic_connection_works_with_a_hook(
    vault: VaultStandIn, engine: DatabaseEngine, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = backend()
    connection = made.get_connection("crm")
    monkeypatch.setattr(PostgresHook, "get_connection", lambda *_: connection)
    with PostgresHook(postgres_conn_id="crm").get_conn() as live:
        with live.cursor() as cursor:
            cursor.execute("SELECT current_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            assert cursor.fetchone() == (connection.login, True)
    live.close()
    assert connection.login.startswith("v-approle-")
    assert "lease" not in json.dumps(made.get_conn_value("crm"))

    leases.revoke_task_leases()
    assert not engine.role_exists(connection.login)
    assert [each["state"] for each in vault.leases(engine.mount)] == ["revoked"]


@pytest.mark.usefixtures("task")
def test_a_template_from_kv(root: hvac.Client, backend: Backend, engine: DatabaseEngine) -> None:
    put(
        root,
        "connections/template",
        conn_type="postgres",
        host="db",
        extra={"sslmode": "verify-full"},
        login="old",
    )
    put(root, "connections/uri", conn_uri="postgres://old:old@db:5433/crm?sslmode=verify-full")
    entry = {"role": "loader", "mount": engine.mount}
    dynamic = {name: {**entry, "template": f"connections/{name}"} for name in ("template", "uri")}
    made = backend(dynamic=json.dumps(dynamic))
    for name in dynamic:
        connection = made.get_connection(name)
        assert connection.host == "db"
        assert connection.extra_dejson == {"sslmode": "verify-full"}
        assert connection.login.startswith("v-approle-")
        assert connection.password not in (None, "old")


@pytest.mark.usefixtures("task")
def test_a_missing_template_makes_no_user(
    vault: VaultStandIn, backend: Backend, engine: DatabaseEngine
) -> None:
    made = backend(
        dynamic={"crm": {"role": "loader", "mount": engine.mount, "template": "connections/nowhere"}}
    )
    assert "'connections/nowhere' is not in Vault" in denied(lambda: made.get_conn_value("crm"))
    assert vault.leases(engine.mount) == []


@pytest.mark.usefixtures("task")
def test_a_hundred_lookups_and_their_forks_share_one_lease(
    vault: VaultStandIn, backend: Backend, engine: DatabaseEngine
) -> None:
    first = backend().get_connection("crm")
    for _ in range(20):  # a new backend for each look-up, as in Airflow 3.2
        assert backend().get_connection("crm").login == first.login
    made = backend()
    for _ in range(75):
        assert made.get_connection("crm").login == first.login
    for _ in range(4):
        assert in_child(lambda: made.get_connection("crm").login) == first.login
    assert len(vault.leases(engine.mount)) == 1

    # A child that ends as a task does revokes nothing.
    in_child(lambda: str(leases.revoke_task_leases()))
    assert engine.role_exists(first.login)


@pytest.mark.usefixtures("task")
def test_a_fork_takes_no_lease_of_its_own(
    vault: VaultStandIn, backend: Backend, engine: DatabaseEngine
) -> None:
    made = backend()
    message = in_child(lambda: str(made.get_conn_value("crm")))
    assert message.startswith("AirflowSecretsBackendAccessDenied")
    assert "inherited no living lease" in message
    assert vault.leases(engine.mount) == []


@pytest.mark.usefixtures("task")
def test_a_fork_shares_no_connection_with_its_parent(root: hvac.Client, backend: Backend) -> None:
    put(root, "variables/greeting", value="hello")
    made = backend()
    assert made.get_variable("greeting") == "hello"
    for _ in range(3):
        assert in_child(lambda: str(made.get_variable("greeting"))) == "hello"
        assert made.get_variable("greeting") == "hello"


@pytest.mark.usefixtures("task")
def test_the_owner_keeps_what_a_leased_role_creates(backend: Backend, engine: DatabaseEngine) -> None:
    connection = backend().get_connection("crm")
    table = unique("t").replace("-", "_")
    with engine.postgres.connect(connection.login, connection.password) as live:
        live.execute("SET ROLE crm_owner")
        live.execute(f"CREATE TABLE crm.{table} (a int)".encode())
    leases.revoke_task_leases()
    assert not engine.role_exists(connection.login)
    with engine.postgres.connect() as live:
        live.execute(f"INSERT INTO crm.{table} VALUES (1)".encode())
        owner = live.execute("SELECT tableowner FROM pg_tables WHERE tablename = %s", [table]).fetchone()
    assert owner == ("crm_owner",)


@pytest.mark.usefixtures("task")
def test_records_are_safe_to_publish(vault: VaultStandIn, backend: Backend, engine: DatabaseEngine) -> None:
    connection = backend().get_connection("crm")
    (record,) = leases.credential_records()
    assert (record.conn_id, record.engine, record.role, record.mount) == (
        "crm",
        "database",
        "loader",
        engine.mount,
    )
    assert (record.ttl_seconds, record.renewable) == (3600, True)
    lease_id = vault.leases(engine.mount)[0]["lease_id"]
    for secret in (connection.login, connection.password, lease_id, lease_id.rpartition("/")[2]):
        assert secret not in repr(record)
        assert secret not in repr(leases.BOOK.history())
    assert record.revoked_at is None
    leases.revoke_task_leases()
    (record,) = leases.credential_records()
    assert record.revoked_at is not None


@pytest.mark.usefixtures("task")
def test_what_is_leased_is_masked(vault: VaultStandIn, backend: Backend, engine: DatabaseEngine) -> None:
    from airflow.sdk._shared.secrets_masker import redact

    connection = backend().get_connection("crm")
    for secret in (connection.login, connection.password, vault.leases(engine.mount)[0]["lease_id"]):
        assert redact(f"<{secret}>") == "<***>"


# where nothing is leased


def test_only_tasks_lease(vault: VaultStandIn, backend: Backend, engine: DatabaseEngine) -> None:
    message = denied(lambda: backend().get_conn_value("crm"))
    assert "connection 'crm'" in message
    assert "this process runs no task" in message
    assert vault.leases(engine.mount) == []


@pytest.mark.usefixtures("task")
def test_nothing_is_leased_while_a_dag_file_is_parsed(
    vault: VaultStandIn, backend: Backend, engine: DatabaseEngine, tmp_path: Path
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    made = backend()
    file = tmp_path / "dag.py"
    file.write_text("import builtins\nbuiltins.look_up_at_parse_time()  # dag airflow\n")
    builtins.look_up_at_parse_time = lambda: made.get_conn_value("crm")  # type: ignore[attr-defined]
    try:
        bag = DagBag(str(file))
    finally:
        del builtins.look_up_at_parse_time  # type: ignore[attr-defined]
    assert "a DAG file is being parsed" in "".join(bag.import_errors.values())
    assert vault.leases(engine.mount) == []
    assert made.get_conn_value("crm") is not None


# failing closed


@pytest.mark.usefixtures("task")
@pytest.mark.parametrize("look_up", ["get_conn_value", "get_variable", "get_config"])
@pytest.mark.parametrize(
    ("status", "says"),
    [(429, "status 429"), (500, "status 500"), (502, "status 502"), (503, "status 503")],
)
def test_a_failing_vault_is_not_an_absent_secret(
    vault: VaultStandIn, root: hvac.Client, backend: Backend, look_up: str, status: int, says: str
) -> None:
    vault.inject({"prefix": "secret/", "status": status, "times": 10})
    message = denied(lambda: getattr(backend(), look_up)("something"))
    assert says in message
    assert "'something'" in message


def test_a_passing_failure_is_survived(vault: VaultStandIn, root: hvac.Client, backend: Backend) -> None:
    put(root, "variables/greeting", value="hello")
    vault.inject({"prefix": "secret/", "status": 503, "times": 2})
    assert backend().get_variable("greeting") == "hello"


@pytest.mark.usefixtures("task")
def test_a_credential_is_asked_for_once(vault: VaultStandIn, root: hvac.Client, backend: Backend) -> None:
    vault.inject({"prefix": "database", "status": 503, "times": 1})
    assert "status 503" in denied(lambda: backend().get_conn_value("crm"))


def test_sealed(vault: VaultStandIn, root: hvac.Client, backend: Backend) -> None:
    made = backend()
    root.sys.seal()
    try:
        message = denied(lambda: made.get_conn_value("anything"))
    finally:
        root.sys.submit_unseal_key(vault.unseal_key)
    assert "Vault is sealed" in message
    assert "unseal" in message


def test_denied(root: hvac.Client, backend: Backend) -> None:
    put(root, "connections/forbidden", conn_uri="postgres://x")
    message = denied(lambda: backend().get_conn_value("forbidden"))
    assert "status 403" in message
    assert "secret/data/connections/forbidden" in message
    assert "policy" in message


def test_login_refused(backend: Backend) -> None:
    message = denied(lambda: backend(secret_id="wrong-secret-id").get_conn_value("x"))
    assert "/login'" in message
    assert "secret_id" in message
    assert "wrong-secret-id" not in message


@pytest.mark.usefixtures("task")
def test_an_unknown_role(backend: Backend, engine: DatabaseEngine) -> None:
    made = backend(
        dynamic={"crm": {"role": "unknown", "mount": engine.mount, "connection": {"conn_type": "postgres"}}}
    )
    message = denied(lambda: made.get_conn_value("crm"))
    assert f"{engine.mount}/creds/unknown" in message
    assert "status 400" in message


def test_unreachable_within_bounds(backend: Backend) -> None:
    started = time.monotonic()
    message = denied(lambda: backend(url=f"https://127.0.0.1:{free_port()}").get_conn_value("x"))
    assert "connection refused" in message
    assert time.monotonic() - started < 5


def test_silence_within_bounds(backend: Backend) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        message = denied(lambda: backend(url=url, timeout=(0.5, 0.5)).get_conn_value("x"))
    assert "Vault at https://127.0.0.1" in message
    assert time.monotonic() - started < 5


def test_a_certificate_of_someone_else(backend: Backend, tmp_path: Path) -> None:
    message = denied(lambda: backend(ca_cert=str(Authority(tmp_path).ca_pem)).get_conn_value("x"))
    assert "certificate" in message
    assert "ca_cert" in message


@pytest.mark.usefixtures("task")
def test_what_can_not_be_revoked_is_warned_of(
    vault: VaultStandIn,
    root: hvac.Client,
    backend: Backend,
    engine: DatabaseEngine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    connection = backend().get_connection("crm")
    vault.inject({"prefix": "sys/leases/revoke", "status": 500, "times": 5})
    with caplog.at_level(logging.WARNING):
        leases.revoke_task_leases()
    assert "was not revoked; Vault ends it" in caplog.text
    assert "status 500" in caplog.text
    for secret in (connection.login, connection.password, vault.leases(engine.mount)[0]["lease_id"]):
        assert secret not in caplog.text


@pytest.mark.usefixtures("task")
def test_without_the_right_to_revoke_the_login_ends(
    root: hvac.Client, backend: Backend, engine: DatabaseEngine, login: dict[str, str]
) -> None:
    root.sys.create_or_update_acl_policy(
        login["auth_mount_point"], f'path "{engine.mount}/creds/loader" {{ capabilities = ["read"] }}'
    )
    connection = backend().get_connection("crm")
    leases.revoke_task_leases()
    assert not engine.role_exists(connection.login)
    with pytest.raises(psycopg.OperationalError):
        engine.postgres.connect(connection.login, connection.password)


# configuration


@pytest.mark.parametrize(
    ("dynamic", "says"),
    [
        ({"crm": {"template": "t"}}, "has no role"),
        ({"crm": {"role": "", "template": "t"}}, "no usable role"),
        ({"crm": {"role": "r", "engine": "gcp", "template": "t"}}, "engine 'gcp'"),
        ({"crm": {"role": "r", "template": "t", "roel": 1}}, "unknown roel"),
        ({"crm": {"role": "r"}}, "either template"),
        ({"crm": {"role": "r", "template": "t", "connection": {"conn_type": "postgres"}}}, "either template"),
        ({"crm": {"role": "r", "connection": {"host": "db"}}}, "without conn_type"),
        ({"crm": {"role": "r", "connection": {"conn_type": "postgres", "login": "x"}}}, "unknown login"),
        ({"crm": "r"}, "must be a mapping"),
        ("{", "not JSON"),
        ([], "must map names"),
    ],
)
def test_bad_configuration(dynamic: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        VaultSecretsBackend(url="https://vault.invalid", token="x", dynamic=dynamic)


@pytest.mark.parametrize(
    "kwargs", [{"ca_cert": "a", "verify": "b"}, {"secret_id": "a", "secret_id_path": "b"}]
)
def test_contradictions(kwargs: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="give one"):
        VaultSecretsBackend(url="https://vault.invalid", token="x", **kwargs)


def test_the_core_needs_no_airflow() -> None:
    code = (
        "import sys, airflow_secure_provider.vault; print({'airflow', 'hvac', 'requests'} & set(sys.modules))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "set()\n"
    )
