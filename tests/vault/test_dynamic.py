"""Which connections are leased, and from what: patterns, KV, static roles, AWS, teams."""

from __future__ import annotations

import json
import logging
from typing import Any

import hvac
import psycopg
import pytest

from airflow_secure_provider import leases
from airflow_secure_provider.errors import ConfigurationError
from airflow_secure_provider.secrets.vault import VaultSecretsBackend
from sandbox.aws import Aws
from sandbox.vault import VaultStandIn
from tests.fixtures_vault import DatabaseEngine, create_role, unique
from tests.vault.backends import Backends, connection_fields, denied, in_child

pytestmark = pytest.mark.usefixtures("task")


def entry(engine: DatabaseEngine, **more: Any) -> dict[str, Any]:
    return {"role": "loader", "mount": engine.mount, "connection": connection_fields(engine.postgres), **more}


# patterns


def test_a_pattern_names_role_and_template(
    root: hvac.Client, backends: Backends, engine: DatabaseEngine
) -> None:
    create_role(root, engine.mount, "crm_eu", ttl="1h", max_ttl="1h")
    root.secrets.database.configure(
        mount_point=engine.mount, **{**engine.config(), "allowed_roles": ["loader", "crm_eu"]}
    )
    backends.put("connections/crm_eu", conn_type="postgres", host="eu.db")
    made = backends(
        dynamic={
            "*": entry(engine, role="unknown"),
            "crm_*": {"role": "{conn_id}", "mount": engine.mount, "template": "connections/{conn_id}"},
            "crm_fixed": entry(engine),
        }
    )
    connection = made.get_connection("crm_eu")
    assert connection.host == "eu.db"
    assert engine.role_exists(connection.login)
    assert made.get_connection("crm_fixed").host == engine.postgres.host  # named: before any pattern
    assert "creds/unknown" in denied(lambda: made.get_conn_value("other"))  # the longest pattern that matches
    roles = {(record.conn_id, record.role) for record in leases.credential_records()}
    assert roles == {("crm_eu", "crm_eu"), ("crm_fixed", "loader")}


@pytest.mark.parametrize("conn_id", ["crm_/../../sys", "crm_a/b", "crm_ä", "crm_%2e"])
def test_an_id_that_can_not_stand_in_a_path(backends: Backends, engine: DatabaseEngine, conn_id: str) -> None:
    made = backends(dynamic={"crm_*": entry(engine, role="{conn_id}")})
    assert "can't stand in a path" in denied(lambda: made.get_conn_value(conn_id))


# declared in the secret itself


def test_declared_in_kv(backends: Backends, engine: DatabaseEngine) -> None:
    name = unique("declared")
    fields = connection_fields(engine.postgres)
    backends.put(f"connections/{name}", **fields, dynamic={"role": "loader", "mount": engine.mount})
    connection = backends(dynamic=None).get_connection(name)
    assert connection.extra_dejson == fields["extra"]
    with engine.postgres.connect(connection.login, connection.password) as live:
        assert live.execute("SELECT current_user").fetchone() == (connection.login,)


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        ({"conn_type": "postgres", "login": "me", "dynamic": {"role": "loader"}}, "login too"),
        ({"conn_type": "postgres", "dynamic": {"role": "loader", "template": "x"}}, "has template"),
        ({"conn_type": "postgres", "dynamic": {"roel": "loader"}}, "unknown roel"),
        ({"host": "x", "dynamic": {"role": "loader"}}, "without conn_type"),
        ({"conn_type": "postgres", "dynamic": "["}, "not JSON"),
    ],
)
def test_declared_badly(backends: Backends, secret: dict[str, Any], says: str) -> None:
    name = unique("declared")
    backends.put(f"connections/{name}", **secret)
    assert says in denied(lambda: backends().get_conn_value(name))


# static roles


@pytest.fixture
def static(root: hvac.Client, engine: DatabaseEngine) -> str:
    """A login of PostgreSQL whose password Vault changes."""
    name = unique("app").replace("-", "_")
    with engine.postgres.connect(autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN".encode())
        admin.execute(f"GRANT {name} TO vault WITH ADMIN OPTION".encode())
    root.secrets.database.configure(
        mount_point=engine.mount, **{**engine.config(), "allowed_roles": ["loader", name]}
    )
    root.adapter.post(
        f"/v1/{engine.mount}/static-roles/{name}",
        json={"db_name": "crm", "username": name, "rotation_period": "24h"},
    )
    return name


def test_a_static_role_and_its_rotation(
    root: hvac.Client, backends: Backends, engine: DatabaseEngine, static: str
) -> None:
    both = {"mount": engine.mount, "static_role": static}
    made = backends(dynamic={"crm": {**both, "connection": connection_fields(engine.postgres)}})
    first = made.get_connection("crm")
    assert first.login == static
    with engine.postgres.connect(first.login, first.password) as live:
        assert live.execute("SELECT current_user").fetchone() == (static,)
    root.adapter.post(f"/v1/{engine.mount}/rotate-role/{static}")
    second = made.get_connection("crm")
    assert second.password != first.password
    with engine.postgres.connect(second.login, second.password) as live:
        assert live.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError):
        engine.postgres.connect(first.login, first.password)
    assert in_child(lambda: made.get_connection("crm").password) == second.password

    (record,) = leases.credential_records()
    assert (record.engine, record.role, record.hashed_lease_id) == ("database-static", static, "")
    assert 86000 < record.ttl_seconds <= 86400
    leases.revoke_task_leases()
    with engine.postgres.connect(second.login, second.password) as live:  # nobody's to revoke
        assert live.execute("SELECT 1").fetchone() == (1,)


# AWS


@pytest.fixture
def sts(vault: VaultStandIn, aws: Aws) -> dict[str, Any]:
    """The stand-in's AWS engine, on the sandbox's STS. (OpenBao has none built in.)"""
    root, mount = vault.client(), unique("aws")
    root.sys.enable_secrets_engine("aws", path=mount)
    root.adapter.post(
        f"/v1/{mount}/config/root",
        json={
            "access_key": aws.access_key,
            "secret_key": aws.secret_key,
            "sts_endpoint": aws.endpoint_url,
            "stand_in_ca": str(aws.ca_pem),
        },
    )
    arn = "arn:aws:iam::123456789012:role/loader"
    root.adapter.post(
        f"/v1/{mount}/roles/loader", json={"credential_type": "assumed_role", "role_arns": [arn]}
    )
    root.sys.create_or_update_acl_policy(
        mount, f'path "{mount}/sts/*" {{ capabilities = ["read", "update"] }}'
    )
    token = root.auth.token.create(policies=[mount], ttl="1h")["auth"]["client_token"]
    root.adapter.close()
    return {"mount": mount, "token": token, "arn": arn}


def test_aws_credentials_of_sts(
    vault: VaultStandIn, aws: Aws, sts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook
    from airflow.sdk import Connection

    leases.enter_task_process("dag.task.run")
    extra = {
        "region_name": "eu-central-1",
        "verify": str(aws.ca_pem),
        "service_config": {"sts": {"endpoint_url": aws.endpoint_url}},
    }
    made = VaultSecretsBackend(
        url=vault.url,
        token=sts["token"],
        ca_cert=str(vault.ca_pem),
        dynamic={
            "lake": {
                "engine": "aws",
                "role": "loader",
                "mount": sts["mount"],
                "role_arn": sts["arn"],
                "ttl": "15m",
                "connection": {"conn_type": "aws", "extra": extra},
            }
        },
    )
    made._set_connection_class(Connection)
    connection = made.get_connection("lake")
    assert made.get_connection("lake").login == connection.login
    kept = connection.extra_dejson
    assert kept.pop("aws_session_token")
    assert kept == extra

    monkeypatch.setattr("airflow.sdk.bases.hook.BaseHook.get_connection", staticmethod(made.get_connection))
    client = AwsGenericHook(aws_conn_id="lake", client_type="sts").get_conn()
    assert client.get_caller_identity()["Arn"].endswith("role/loader/dag.task.run")
    client.close()
    (record,) = leases.credential_records()
    assert (record.engine, record.ttl_seconds, record.renewable) == ("aws", 900, False)
    assert len(vault.leases(sts["mount"])) == 1
    made.vault_client.close()


# teams


def test_entries_of_teams(backends: Backends, engine: DatabaseEngine) -> None:
    made = backends(dynamic={"crm": entry(engine, teams=["sales", "risk"])})
    assert "not for those of team 'web'" in denied(lambda: made.get_conn_value("crm", "web"))
    assert "tasks without a team" in denied(lambda: made.get_conn_value("crm"))
    sales, risk = (json.loads(made.get_conn_value("crm", team) or "") for team in ("sales", "risk"))
    assert sales["login"] != risk["login"]  # no team works under another's credential


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"role": "r", "static_role": "s", "template": "t"}, "both role and static_role"),
        ({"engine": "aws", "static_role": "s"}, "unknown static_role"),
        ({"role": "r", "template": "t", "teams": []}, "not a list of team names"),
        ({"role": "r", "template": "t", "ttl": "5m"}, "unknown ttl"),
        (
            {"engine": "aws", "role": "r", "template": "t", "connection": {"conn_type": "aws"}},
            "either template",
        ),
    ],
)
def test_bad_entries(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        VaultSecretsBackend(url="https://vault.invalid", token="x", dynamic={"crm": given})


# what is remembered


def test_a_kv_value_is_remembered_for_a_moment(vault: VaultStandIn, backends: Backends) -> None:
    name = unique("moment")
    backends.put(f"connections/{name}", conn_uri="postgres://one")
    made, forgetful = backends(cache_seconds=0.5), backends(cache_seconds=0)
    assert made.get_conn_value(name) == forgetful.get_conn_value(name) == "postgres://one"
    backends.put(f"connections/{name}", conn_uri="postgres://two")
    assert forgetful.get_conn_value(name) == "postgres://two"
    import time

    time.sleep(0.6)
    assert made.get_conn_value(name) == "postgres://two"


def test_outside_of_tasks_nothing_is_remembered(backends: Backends) -> None:
    leases.revoke_task_leases()
    name = unique("moment")
    backends.put(f"variables/{name}", value="one")
    made = backends(cache_seconds=60)
    assert made.get_variable(name) == "one"
    backends.put(f"variables/{name}", value="two")
    assert made.get_variable(name) == "two"


@pytest.mark.parametrize("how", ["deleted", "destroyed"])
def test_a_version_that_is_gone_is_not_an_absent_secret(
    root: hvac.Client, backends: Backends, how: str
) -> None:
    name = unique("gone")
    backends.put(f"connections/{name}", conn_uri="postgres://one")
    if how == "deleted":
        root.secrets.kv.v2.delete_latest_version_of_secret(f"connections/{name}", mount_point="secret")
    else:
        root.secrets.kv.v2.destroy_secret_versions(f"connections/{name}", [1], mount_point="secret")
    message = denied(lambda: backends().get_conn_value(name))
    assert f"(1) was {how}" in message
    root.secrets.kv.v2.delete_metadata_and_all_versions(f"connections/{name}", mount_point="secret")
    assert backends().get_conn_value(name) is None


def test_nothing_secret_is_logged(
    backends: Backends, engine: DatabaseEngine, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        connection = backends().get_connection("crm")
        leases.revoke_task_leases()
    assert caplog.text
    for secret in (connection.login, connection.password, backends.login["secret_id"]):
        assert secret not in caplog.text
