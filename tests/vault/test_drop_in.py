"""What the hashicorp provider's VaultBackend takes and gives, ours takes and gives: both asked side by side."""

from __future__ import annotations

import inspect
from typing import Any

import hvac
import pytest
from airflow.providers.hashicorp.secrets.vault import VaultBackend

from airflow_secure_provider.secrets.vault import VaultSecretsBackend
from tests.fixtures_vault import VaultServer, unique
from tests.vault.backends import denied

PATHS = 'path "{mount}/*" {{ capabilities = ["read"] }}'


@pytest.fixture(params=[1, 2], ids=["KV v1", "KV v2"])
def store(request: pytest.FixtureRequest, root: hvac.Client) -> Any:
    """A KV mount with secrets of all shapes, and a token that may read it."""
    version, mount = request.param, unique("kv")
    root.sys.enable_secrets_engine("kv", path=mount, options={"version": str(version)})
    infix = "data/" if version == 2 else ""
    secrets = {
        "connections/uri": {"conn_uri": "postgres://me:p@db:5432/crm"},
        "connections/fields": {"conn_type": "postgres", "host": "db", "extra": {"sslmode": "require"}},
        "connections/empty": {"note": ""},
        "common/shared": {"conn_uri": "postgres://common"},
        "variables/greeting": {"value": "hello"},
        "variables/odd": {"text": "hello"},
        "config/key": {"value": "secret"},
        "root-level": {"conn_uri": "postgres://root-level"},
    }
    for path, secret in secrets.items():
        for _ in range(100):  # a real server upgrades a new mount in the background
            try:
                root.adapter.post(
                    f"/v1/{mount}/{infix}{path}", json={"data": secret} if version == 2 else secret
                )
                break
            except hvac.exceptions.InvalidRequest:
                import time

                time.sleep(0.1)
    root.sys.create_or_update_acl_policy(mount, PATHS.format(mount=mount))
    token = root.auth.token.create(policies=[mount], ttl="1h")["auth"]["client_token"]
    yield {"mount": mount, "token": token, "version": version}
    root.sys.disable_secrets_engine(mount)


SETTINGS: list[dict[str, Any]] = [
    {},
    {"connections_path": ["connections", "common"], "variables_path": "variables/", "config_path": None},
    {"connections_path": "", "variables_path": None},
    {"mount_point": None, "connections_path": ""},
    {"connections_path": None},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=range(len(SETTINGS)))
def test_side_by_side(vault_server: VaultServer, store: dict[str, Any], settings: dict[str, Any]) -> None:
    given = {
        "url": vault_server.url,
        "token": store["token"],
        "mount_point": store["mount"],
        "kv_engine_version": store["version"],
        "verify": vault_server.verify,
        **settings,
    }
    stock, ours = VaultBackend(**given), VaultSecretsBackend(**given)
    prefix = "" if given["mount_point"] else f"{store['mount']}/"
    names = ["uri", "fields", "empty", "shared", "nowhere", "root-level", "connections/uri"]
    for name in [f"{prefix}{each}" for each in names] + ["bare"]:
        assert ours.get_conn_value(name) == stock.get_conn_value(name), name
    for name in [f"{prefix}{each}" for each in ("greeting", "odd", "nowhere")]:
        assert ours.get_variable(name) == stock.get_variable(name), name
    for name in [f"{prefix}{each}" for each in ("key", "nowhere")]:
        assert ours.get_config(name) == stock.get_config(name), name
    stock.vault_client.kwargs["session"].close() if "session" in stock.vault_client.kwargs else None
    ours.vault_client.close()


def test_every_argument_is_taken() -> None:
    """By name and by place: what is set on the provider's client is set on ours."""
    values: dict[str, Any] = {
        name: f"of {name}"
        for name, parameter in inspect.signature(VaultBackend.__init__).parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and name not in ("self", "global_secrets_path")
    }
    values |= {
        "auth_type": "approle",
        "kv_engine_version": 1,
        "use_team_secrets_path": False,
        "radius_port": 1,
    }
    stock, ours = VaultBackend(**values), VaultSecretsBackend(**values)
    own = {
        "own",
        "identity",
        "kwargs",
        "_certificate",
        "_brings_session",
        "_session_pid",
        "_log",
        "_log_config_logger_name",
    }
    for name, value in vars(stock.vault_client).items():
        if name not in own:
            assert getattr(ours.vault_client, name) == value, name
    assert vars(stock).keys() - {"vault_client"} <= vars(ours).keys()
    by_place = VaultSecretsBackend(
        "mine", "vars", "conf", True, None, "https://vault", "token", None, "kv", 1, "t"
    )
    assert (by_place.connections_path, by_place.mount_point, by_place.vault_client.token) == (
        ["mine"],
        "kv",
        "t",
    )


def test_what_is_not_ours_goes_to_hvac() -> None:
    made = VaultSecretsBackend(
        url="https://vault", token="t", namespace="ns1", proxies={"https": "http://p"}, timeout=7
    )
    assert {name: made.vault_client.kwargs[name] for name in ("namespace", "proxies", "timeout")} == {
        "namespace": "ns1",
        "proxies": {"https": "http://p"},
        "timeout": 7,
    }


def test_a_namespace(root: hvac.Client, vault_server: VaultServer) -> None:
    name = unique("ns")
    if vault_server.description == "the stand-in":
        made = VaultSecretsBackend(
            url=vault_server.url, token="t", verify=vault_server.verify, namespace=name
        )
        assert "status 400" in denied(lambda: made.get_variable("greeting"))  # it has none, and says so
        made.vault_client.close()
        return
    root.adapter.post(f"/v1/sys/namespaces/{name}")  # OpenBao; HashiCorp's are in Vault Enterprise only
    inside = hvac.Client(
        url=vault_server.url,
        token=vault_server.root_token,
        verify=vault_server.verify,
        namespace=name,
        timeout=10,
    )
    inside.sys.enable_secrets_engine("kv", path="secret", options={"version": "1"})
    inside.secrets.kv.v1.create_or_update_secret(
        "variables/greeting", {"value": "inside"}, mount_point="secret"
    )
    inside.sys.create_or_update_acl_policy("reads", 'path "secret/*" { capabilities = ["read"] }')
    token = inside.auth.token.create(policies=["reads"], ttl="1h")["auth"]["client_token"]
    given = {"url": vault_server.url, "token": token, "verify": vault_server.verify, "kv_engine_version": 1}
    made = VaultSecretsBackend(**given, namespace=name)
    assert made.get_variable("greeting") == "inside"
    made.vault_client.close()
    inside.adapter.close()
    root.adapter.delete(f"/v1/sys/namespaces/{name}")
